//! The live view: a table of the connections that are open, refreshed in place.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use mesh_harness::{Metrics, NodeProxy};
use serde_json::Value;

use super::demo::Demo;
use super::stop::Stop;

/// How often the table is drawn.
const REFRESH: Duration = Duration::from_secs(1);
/// How often a wish to stop is looked for.
const GLANCE: Duration = Duration::from_millis(100);
/// Without a terminal the table is printed, not refreshed: seldom, for a log's sake.
const LOG_EVERY: u32 = 10;
/// Rows of the table at most: it must fit a terminal.
const ROWS: usize = 24;

/// Shows the table until somebody wants to stop.
pub(super) fn show(demo: &Demo) -> Result<()> {
    let stop = Stop::listen()?;
    let terminal = io::stdout().is_terminal();
    let mut drawn = 0;
    for round in 0_u32.. {
        if terminal || round % LOG_EVERY == 0 {
            let table = table(demo);
            let mut out = io::stdout().lock();
            if terminal && drawn > 0 {
                // Up to the table's first line, and everything below it away (ECMA-48 CPL, ED).
                write!(out, "\x1b[{drawn}F\x1b[J")?;
            }
            write!(out, "{table}")?;
            out.flush()?;
            drawn = table.lines().count();
        }
        let mut slept = Duration::ZERO;
        while slept < REFRESH {
            if stop.is_wanted() {
                return Ok(());
            }
            thread::sleep(GLANCE);
            slept += GLANCE;
        }
    }
    Ok(())
}

fn table(demo: &Demo) -> String {
    let mut text = String::new();
    for node in &demo.mesh.nodes {
        line(&mut text, &totals(node));
    }
    line(
        &mut text,
        &format!(
            "{:<8} {:<8} {:<14} {:<13} {:<44} {:<9} {:>10} {:>10} {:>6}",
            "NODE", "DIR", "WORKLOAD", "SERVICE", "PEER", "TRANSPORT", "SENT", "RECEIVED", "AGE"
        ),
    );
    let mut rows: Vec<String> = demo.mesh.nodes.iter().flat_map(rows).collect();
    let hidden = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    for row in rows {
        line(&mut text, &row);
    }
    if hidden > 0 {
        line(&mut text, &format!("and {hidden} more"));
    }
    line(&mut text, "Ctrl-C stops and removes everything");
    text
}

/// Cut to a usual terminal's width would hide the identities; a wrapped line would break the redraw. So lines are
/// cut where the terminal ends.
fn line(text: &mut String, content: &str) {
    let width = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(140);
    let cut: String = content.chars().take(width).collect();
    let _infallible = writeln!(text, "{cut}");
}

fn totals(node: &NodeProxy) -> String {
    match node.metrics() {
        Ok(metrics) => {
            let Totals {
                opened,
                failed,
                sent,
                received,
                handshakes,
            } = Totals::of(&metrics);
            format!(
                "{}: {opened} connections, {failed} failed, {} sent, {} received, {handshakes} TLS handshakes",
                node.node.name,
                size(sent),
                size(received)
            )
        }
        Err(error) => format!("{}: {error:#}", node.node.name),
    }
}

/// A node's counters since its start.
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) handshakes: u64,
}

impl Totals {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let sum = |name: &str| whole(metrics.sum(name, &[]));
        Self {
            opened: sum("mesh_node_connections_opened_total"),
            failed: sum("mesh_node_connections_failed_total"),
            sent: sum("mesh_node_sent_bytes_total"),
            received: sum("mesh_node_received_bytes_total"),
            handshakes: whole(metrics.sum("mesh_node_tls_handshakes_total", &[("result", "ok")])),
        }
    }
}

/// A counter's value. Below 2^53 the conversion is exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn rows(node: &NodeProxy) -> Vec<String> {
    let Ok(Value::Array(connections)) = node.admin("/connections") else {
        return Vec::new();
    };
    connections
        .iter()
        .map(|connection| {
            let text = |field: &str| connection[field].as_str().unwrap_or("-").to_owned();
            let number = |field: &str| connection[field].as_u64().unwrap_or_default();
            format!(
                "{:<8} {:<8} {:<14} {:<13} {:<44} {:<9} {:>10} {:>10} {:>5}s",
                node.node.name,
                text("direction"),
                text("workload"),
                text("service"),
                text("peer"),
                text("transport"),
                size(number("sent_bytes")),
                size(number("received_bytes")),
                number("age_seconds")
            )
        })
        .collect()
}

/// Bytes for people, in binary units.
pub(super) fn size(bytes: u64) -> String {
    let mut rest = bytes;
    let mut tenths = 0;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024 {
            return if unit == "B" {
                format!("{rest} B")
            } else {
                format!("{rest}.{tenths} {unit}")
            };
        }
        tenths = rest % 1024 * 10 / 1024;
        rest /= 1024;
    }
    format!("{rest}.{tenths} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_sizes_for_people() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 * 1024 * 1024 * 1024), "3.0 GiB");
    }
}
