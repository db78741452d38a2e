//! What came of it, for people and for programs.

use std::fmt::Write as _;

use crate::group::Measured;
use crate::statistics::Summary;

/// A group as lines of a table.
pub fn table(measured: &Measured) -> String {
    let mut text = format!("\n{}\n", measured.key);
    for (subject, figures) in &measured.summary {
        let cells: Vec<String> = figures.iter().map(|(name, value)| cell(name, value)).collect();
        writeln!(text, "  {subject:<14} {}", cells.join("  ")).ok();
    }
    for (key, value) in &measured.ratios {
        let name = key.strip_prefix(&measured.key).unwrap_or(key);
        writeln!(
            text,
            "    {:<28} {:>7.3}  ({:.3} to {:.3})",
            name.trim_start_matches('.'),
            value.median,
            value.min,
            value.max
        )
        .ok();
    }
    text
}

fn cell(name: &str, value: &Summary) -> String {
    format!("{name} {:.1} ±{:.0}%", value.median, value.spread() * 100.0)
}
