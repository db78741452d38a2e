//! Reading the Prometheus text format.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, with a counter's or histogram's suffix.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads a scrape; lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        Self {
            samples: text.lines().filter_map(parse_line).collect(),
        }
    }

    /// Every sample.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The sum over the samples of this name that have all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of this name that have all these labels.
    pub fn matching<'a>(&'a self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        })
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (name, labels, value) = if let Some((name, rest)) = line.split_once('{') {
        let (labels, value) = parse_labels(rest)?;
        (name, labels, value)
    } else {
        let (name, value) = line.split_once(' ')?;
        (name, BTreeMap::new(), value)
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.trim().to_owned(),
        labels,
        value,
    })
}

/// Labels up to the closing brace, and what follows it.
fn parse_labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = after.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_samples_by_label_and_keeps_escapes() {
        let metrics = Metrics::parse(
            "# TYPE a counter\na_total{x=\"1\",y=\"q\\\"}\"} 2\na_total{x=\"2\",y=\"\"} 3.5\nb 1e3\n# EOF\n",
        );
        assert!((metrics.sum("a_total", &[]) - 5.5).abs() < f64::EPSILON);
        assert!((metrics.sum("a_total", &[("x", "1"), ("y", "q\"}")]) - 2.0).abs() < f64::EPSILON);
        assert!((metrics.sum("b", &[]) - 1000.0).abs() < f64::EPSILON);
        assert_eq!(metrics.samples().len(), 3);
    }
}
