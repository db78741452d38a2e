//! Finding what a source file names of its own crate.

/// A module of the crate's root that a file names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) name: String,
    pub(super) line: usize,
}

/// What `text` names of its crate, in a file `depth` modules below the crate's root.
pub(super) fn of_crate(text: &str, depth: usize) -> Vec<Import> {
    let text = without_comments(text);
    // Enough supers to reach the root. An inline module needs one more, so only those at the margin count.
    let supers = "super::".repeat(depth);
    let mut imports = Vec::new();
    for (prefix, margin_only) in [("crate::", false), (supers.as_str(), true)] {
        for at in occurrences(&text, prefix) {
            if margin_only && !at_margin(&text, at) {
                continue;
            }
            let line = line_of(&text, at);
            let names = first_names(text.get(at + prefix.len()..).unwrap_or_default());
            imports.extend(names.into_iter().map(|name| Import { name, line }));
        }
    }
    imports
}

/// The first line that names a path of the crate `package`.
pub(super) fn line_naming(text: &str, package: &str) -> Option<usize> {
    let text = without_comments(text);
    let path = format!("{}::", package.replace('-', "_"));
    occurrences(&text, &path).first().map(|at| line_of(&text, *at))
}

/// Blanks line comments; every other character keeps its line.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        // "https://" in a string looks like one too, and nothing that matters follows it.
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Where `path` begins and is not the tail of a longer path or name.
fn occurrences(text: &str, path: &str) -> Vec<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(path)
        .map(|(at, _)| at)
        .filter(|at| {
            !text
                .get(..*at)
                .unwrap_or_default()
                .ends_with(|c: char| is_name(c) || c == ':')
        })
        .collect()
}

fn at_margin(text: &str, at: usize) -> bool {
    let line = text
        .get(..at)
        .and_then(|before| before.rsplit('\n').next())
        .unwrap_or_default();
    ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].contains(&line)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The first name of each path that starts here: one, or those of a group in braces.
fn first_names(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        return Vec::from_iter(leading_name(text));
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.extend(leading_name(group.get(start..at).unwrap_or_default()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.extend(leading_name(group.get(start..at).unwrap_or_default()));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> Option<String> {
    let text = text.trim_start();
    let text = text.strip_prefix("r#").unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    text.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, depth: usize) -> Vec<String> {
        of_crate(text, depth)
            .into_iter()
            .map(|import| import.name)
            .collect()
    }

    #[test]
    fn finds_groups_over_several_lines() {
        let text = "use crate::{\n    net::{Peer, addr::{self, A}},\n    state,\n};\n";
        assert_eq!(names(text, 1), ["net", "state"]);
    }

    #[test]
    fn finds_paths_in_code_and_not_in_comments() {
        assert_eq!(
            names(
                "fn f(x: crate::net::Peer) {}\n// crate::flow\n/// crate::flow::F\n",
                1
            ),
            ["net"]
        );
        assert_eq!(
            names("macro $crate::net; other_crate::net; a::crate::b", 1),
            Vec::<String>::new()
        );
    }

    #[test]
    fn follows_super_to_the_root_only() {
        assert_eq!(names("use super::state;\n", 1), ["state"]);
        assert_eq!(names("use super::state;\n", 2), Vec::<String>::new());
        assert_eq!(names("pub use super::super::state;\n", 2), ["state"]);
        assert_eq!(
            names("mod tests {\n    use super::*;\n    use super::state;\n}\n", 1),
            Vec::<String>::new()
        );
    }
}
