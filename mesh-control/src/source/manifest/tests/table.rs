//! Tables of cases in files of their own.

/// The cases of a table: a line of YAML, and indented below it `field: words`.
pub(in crate::source::manifest) fn cases(table: &str) -> Vec<(&str, &str, &str)> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let mut cases = Vec::new();
    while let (Some(yaml), Some(expected)) = (lines.next(), lines.next()) {
        let (field, words) = expected.trim_start().split_once(": ").unwrap();
        assert!(expected.starts_with("    ") && !yaml.starts_with(' '), "{yaml}");
        cases.push((yaml, field, words));
    }
    cases
}
