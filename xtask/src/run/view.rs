//! The live view: what the examples do, and a table of the connections that are open, refreshed in place.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use mesh_harness::{Metrics, NodeProxy};
use serde_json::Value;

use super::demo::Demo;
use super::stop::Stop;
use super::traffic::{Traffic, whole};

/// How often the table is drawn.
const REFRESH: Duration = Duration::from_secs(1);
/// How often a wish to stop is looked for.
const GLANCE: Duration = Duration::from_millis(100);
/// Without a terminal the table is printed, not refreshed: seldom, for a log's sake.
const LOG_EVERY: u32 = 10;
/// Rows and columns where there is no terminal to ask.
const NO_TERMINAL: (usize, usize) = (60, 160);
/// Shares are of the last so many readings, so that a changed route shows within seconds.
const WINDOW: usize = 10;

/// Shows the table until somebody wants to stop.
pub(super) fn show(demo: &Demo) -> Result<()> {
    let stop = Stop::listen()?;
    let terminal = io::stdout().is_terminal();
    let mut drawn = 0;
    let mut readings = VecDeque::new();
    for round in 0_u32.. {
        if let Ok(reading) = Traffic::read(demo) {
            readings.push_back(reading);
            if readings.len() > WINDOW {
                readings.pop_front();
            }
        }
        if terminal || round % LOG_EVERY == 0 {
            let table = table(demo, &readings);
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

fn table(demo: &Demo, readings: &VecDeque<Traffic>) -> String {
    let (height, width) = terminal_size();
    let nodes = &demo.world.mesh.nodes;
    let mut lines = examples(readings);
    lines.extend(nodes.iter().map(totals));
    lines.push(row([
        "NODE",
        "DIRECTION",
        "WORKLOAD",
        "SERVICE",
        "PEER",
        "VIA",
        "SENT",
        "RECEIVED",
        "AGE",
    ]));
    let mut rows: Vec<String> = nodes.iter().flat_map(rows).collect();
    // The totals, the head, the last line, and the one that the cursor is on.
    let room = height.saturating_sub(lines.len() + 3).max(1);
    let hidden = rows.len().saturating_sub(room);
    rows.truncate(room);
    lines.extend(rows);
    let more = if hidden > 0 {
        format!("and {hidden} more; ")
    } else {
        String::new()
    };
    lines.push(format!("{more}Ctrl-C stops and removes everything"));
    let mut text = String::new();
    for content in &lines {
        line(&mut text, content, width);
    }
    text
}

/// What each example does: shares of the last seconds, counts since the start.
fn examples(readings: &VecDeque<Traffic>) -> Vec<String> {
    let (Some(first), Some(last)) = (readings.front(), readings.back()) else {
        return Vec::new();
    };
    let shares = |service: &str, rule: &str| last.shares(first, service, Some(rule));
    let (requests, failed) = last.requests_and_failures("shop/stock");
    let out: Vec<String> = last
        .ejected("shop/prices")
        .iter()
        .map(|ejected| format!("{} left out, {} s still", ejected.workload, ejected.seconds_left))
        .collect();
    let out = if out.is_empty() {
        "nobody left out".to_owned()
    } else {
        out.join(", ")
    };
    let (priced, unpriced) = last.requests_and_failures("shop/prices");
    vec![
        format!(
            "canary      shop/web: {}",
            shares("shop/web", "shop/canary#split")
        ),
        format!(
            "ab-testing  x-group: b: {}; all others: {}",
            shares("shop/search", "shop/ab-testing#group-b"),
            shares("shop/search", "shop/ab-testing#everybody")
        ),
        format!(
            "retries     shop/stock: {requests} requests, {} sent again, {failed} failed",
            last.retried("shop/stock")
        ),
        format!("outlier     shop/prices: {priced} requests, {unpriced} failed; {out}"),
    ]
}

/// One row of the table. The identities come in the middle, where no terminal cuts them.
fn row([node, direction, workload, service, peer, via, sent, received, age]: [&str; 9]) -> String {
    format!(
        "{node:<7} {direction:<9} {workload:<14} {peer:<36} {via:<9} {sent:>9} {received:>9} {age:>6}  {service}"
    )
}

/// A line that is cut where the terminal ends: a wrapped one would break the redraw.
fn line(text: &mut String, content: &str, width: usize) {
    text.extend(content.chars().take(width));
    text.push('\n');
}

/// The terminal's rows and columns, as it is now.
fn terminal_size() -> (usize, usize) {
    let output = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let mut numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .filter(|&number| number > 0);
    match (numbers.next(), numbers.next()) {
        (Some(rows), Some(columns)) => (rows, columns),
        _ => NO_TERMINAL,
    }
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

fn rows(node: &NodeProxy) -> Vec<String> {
    let Ok(Value::Array(connections)) = node.admin("/connections") else {
        return Vec::new();
    };
    connections
        .iter()
        .map(|connection| {
            let text = |field: &str| connection[field].as_str().unwrap_or("-");
            let number = |field: &str| connection[field].as_u64().unwrap_or_default();
            let peer = text("peer");
            row([
                &node.node.name,
                text("direction"),
                text("workload"),
                text("service"),
                peer.strip_prefix("spiffe://").unwrap_or(peer),
                text("transport"),
                &size(number("sent_bytes")),
                &size(number("received_bytes")),
                &format!("{}s", number("age_seconds")),
            ])
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
