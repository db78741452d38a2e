//! The report as docs/performance.md has it: ratios first, then figures, then machine and commands.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::{Report, number};
use crate::group::Measured;

/// Who stands in the columns of a case of three.
const PEERS: [&str; 3] = ["nodemesh", "envoy", "direct"];

/// All of it.
pub(super) fn write(report: &Report) -> Result<String> {
    let mut text = String::from("| target | wanted | measured | |\n|---|---|---|---|\n");
    for verdict in &report.targets {
        let mark = if verdict.met { "met" } else { "**missed**" };
        let (what, bound, value) = (&verdict.what, &verdict.bound, number(verdict.value));
        writeln!(text, "| {what} | {bound} | {value} | {mark} |")?;
    }
    let (usual, special): (Vec<&Measured>, Vec<&Measured>) = report.groups.iter().partition(|group| {
        group.summary.keys().all(|name| PEERS.contains(&name.as_str())) && group.key != "memory"
    });
    text.push_str(
        "\n| case | a second: nodemesh | Envoy | direct | to Envoy | to direct | CPU, µs: nodemesh | Envoy | to Envoy \
         | p99, ms: nodemesh | Envoy |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for group in usual {
        writeln!(text, "{}", row(group))?;
    }
    text.push_str("\n| case | who | figures |\n|---|---|---|\n");
    for group in special {
        for (subject, figures) in &group.summary {
            let figures = figures.iter();
            let cells: Vec<String> = figures
                .map(|(name, value)| format!("{name} {}", number(value.median)))
                .collect();
            writeln!(text, "| {} | {subject} | {} |", group.key, cells.join(", "))?;
        }
    }
    let machine = &report.machine;
    writeln!(
        text,
        "\n{} × {}, {} MiB, Linux {}, revision {}; load before: {}.\n\n```",
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.revision,
        machine.load_before
    )?;
    for (program, version) in &machine.versions {
        writeln!(text, "{program}: {version}")?;
    }
    for command in commands(report) {
        writeln!(text, "{command}")?;
    }
    text.push_str("```\n");
    Ok(text)
}

fn row(group: &Measured) -> String {
    let figure = |subject: &str, name: &str| Some(group.summary.get(subject)?.get(name)?.median);
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let rate = |subject: &str| cell(figure(subject, &group.counted));
    let ratio = |name: &str, base: &str| {
        let key = format!("{}.{name}_vs_{base}", group.key);
        cell(group.ratios.get(&key).map(|value| value.median))
    };
    let milliseconds = |subject: &str| cell(figure(subject, "p99").map(|micros| micros / 1e3));
    let cells = [
        group.key.clone(),
        rate("nodemesh"),
        rate("envoy"),
        rate("direct"),
        ratio(&group.counted, "envoy"),
        ratio(&group.counted, "direct"),
        cell(figure("nodemesh", "cpu")),
        cell(figure("envoy", "cpu")),
        ratio("cpu", "envoy"),
        milliseconds("nodemesh"),
        milliseconds("envoy"),
    ];
    format!("| {} |", cells.join(" | "))
}

/// One of each program: they differ in addresses and numbers only.
fn commands(report: &Report) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let all = report.groups.iter().flat_map(|group| group.commands.values());
    all.map(String::as_str)
        .filter(|command| seen.insert(command.split(' ').next().unwrap_or_default()))
        .collect()
}
