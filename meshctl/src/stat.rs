//! Requests by Service, route or workload: rates, success and latency over a window.
//!
//! A node counts since it started; a window is the difference between two of its answers. Only the node of the client counts a
//! request, so a node shows what its own workloads ask for.

mod window;

use std::time::{Duration, SystemTime};

use anyhow::bail;
use mesh_api::admin::Stats;
use serde::Serialize;

use self::window::{Row, rows};
use crate::admin_client::{AdminClient, AdminError};
use crate::cli::{Output, StatArgs, StatBy, TopArgs};
use crate::table::Column::{Left, Right};
use crate::table::{Column, Table};
use crate::units;

/// Windows beyond this would need a history that nobody keeps.
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);

/// One round of `top`, as JSON.
#[derive(Serialize)]
struct Round<'a> {
    /// Seconds since 1970.
    time: u64,
    in_flight: u64,
    rows: &'a [Row],
}

/// `meshctl stat`.
pub(crate) fn stat(client: &AdminClient, output: Output, arguments: &StatArgs) -> anyhow::Result<String> {
    let by = arguments.by;
    let rows = if arguments.total {
        rows(None, &fetch(client, by)?)
    } else {
        if arguments.window.is_zero() || arguments.window > LONGEST_WINDOW {
            bail!(
                "--window is between a moment and an hour; for all since the node's start there is --total"
            );
        }
        let before = fetch(client, by)?;
        std::thread::sleep(arguments.window);
        difference(&before, &fetch(client, by)?)?
    };
    let mut rows = rows;
    rows.retain(|row| row.is_in(arguments.namespace.as_deref()));
    match output {
        Output::Json => Ok(format!("{:#}\n", serde_json::to_value(&rows)?)),
        Output::Table => Ok(table(&rows, by)),
    }
}

/// `meshctl top`. `show` gets each round, and says whether anybody still reads.
pub(crate) fn top(
    client: &AdminClient,
    output: Output,
    arguments: &TopArgs,
    screen: Option<Screen>,
    mut show: impl FnMut(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    if arguments.interval.is_zero() || arguments.interval > LONGEST_WINDOW {
        bail!("--interval is between a moment and an hour, such as 1s");
    }
    let mut before = fetch(client, arguments.by)?;
    let mut round = 0;
    while arguments.count.is_none_or(|count| round < count) {
        std::thread::sleep(arguments.interval);
        let now = fetch(client, arguments.by)?;
        let mut rows = difference(&before, &now)?;
        rows.retain(|row| row.is_in(arguments.namespace.as_deref()));
        rows.sort_by(|a, b| b.rps.total_cmp(&a.rps));
        let text = match output {
            Output::Json => json_round(&rows, &now)?,
            Output::Table => table_round(&rows, &now, arguments, screen),
        };
        if !show(&text)? {
            break;
        }
        before = now;
        round += 1;
    }
    Ok(())
}

/// A terminal to draw on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Its lines.
    pub(crate) lines: usize,
}

fn fetch(client: &AdminClient, by: StatBy) -> Result<Stats, AdminError> {
    client.get_json(&format!("/stats?by={}", by.word()))
}

fn difference(before: &Stats, now: &Stats) -> anyhow::Result<Vec<Row>> {
    if now.uptime_micros <= before.uptime_micros {
        bail!("the node was restarted meanwhile, and its counts began anew; run this again");
    }
    Ok(rows(Some(before), now))
}

fn json_round(rows: &[Row], now: &Stats) -> anyhow::Result<String> {
    let round = Round {
        time: seconds_since_1970(),
        in_flight: now.in_flight,
        rows,
    };
    Ok(format!("{}\n", serde_json::to_string(&round)?))
}

/// On a terminal in place of the former round, as much as fits; else one after the other.
fn table_round(rows: &[Row], now: &Stats, arguments: &TopArgs, screen: Option<Screen>) -> String {
    let time = seconds_since_1970() % 86_400;
    let total: f64 = rows
        .iter()
        .filter(|row| row.is_counted_once())
        .map(|row| row.rps)
        .sum();
    let head = format!(
        "{:02}:{:02}:{:02} UTC   {total:.1} requests a second, {} under way   (by {}, every {:?})\n",
        time / 3600,
        time / 60 % 60,
        time % 60,
        now.in_flight,
        arguments.by.word(),
        arguments.interval,
    );
    let body = table(rows, arguments.by);
    match screen {
        None => format!("{head}{body}\n"),
        Some(screen) => {
            // The head, an empty line and the cursor's own have to fit, too.
            let shown = body.lines().take(screen.lines.saturating_sub(3).max(2));
            let shown: String = shown.flat_map(|line| [line, "\x1b[K\n"]).collect();
            // Home, each line cleared to its end, and then all below: no flicker as from clearing first.
            format!("\x1b[H{}\x1b[K\n\x1b[K\n{shown}\x1b[J", head.trim_end())
        }
    }
}

fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn table(rows: &[Row], by: StatBy) -> String {
    let none = "Workloads of this node have not asked for anything yet.";
    let [rps, success, p50, p95, p99, flags] = NUMBERS;
    match by {
        StatBy::Services => {
            let mut table = Table::new([Left("SERVICE"), rps, success, p50, p95, p99, flags]);
            for row in rows {
                let [rps, success, p50, p95, p99, flags] = numbers(row);
                table.push([row.group.service.clone(), rps, success, p50, p95, p99, flags]);
            }
            table.render(none)
        }
        StatBy::Routes => {
            let names = [Left("SERVICE"), Left("ROUTE"), Left("BACKEND")];
            let [service, route, backend] = names;
            let mut table = Table::new([service, route, backend, rps, success, p50, p95, p99, flags]);
            for row in rows {
                let [rps, success, p50, p95, p99, flags] = numbers(row);
                let names = [&row.group.service, &row.group.route, &row.group.backend];
                let [service, route, backend] = names.map(Clone::clone);
                table.push([service, route, backend, rps, success, p50, p95, p99, flags]);
            }
            table.render(none)
        }
        StatBy::Workloads => {
            let mut table = Table::new([Left("WORKLOAD"), Left("AS"), rps, success, p50, p95, p99, flags]);
            for row in rows {
                let [rps, success, p50, p95, p99, flags] = numbers(row);
                let (workload, role) = (row.group.workload.clone(), row.group.role.clone());
                table.push([workload, role, rps, success, p50, p95, p99, flags]);
            }
            table.render(none)
        }
    }
}

/// The columns that every table ends with.
const NUMBERS: [Column; 6] = [
    Right("RPS"),
    Right("SUCCESS"),
    Right("P50"),
    Right("P95"),
    Right("P99"),
    Left("FLAGS"),
];

fn numbers(row: &Row) -> [String; 6] {
    let latency = |seconds: Option<f64>| seconds.map(units::latency).unwrap_or_default();
    [
        format!("{:.1}", row.rps),
        row.success_rate.map(units::percent).unwrap_or_default(),
        latency(row.p50_seconds),
        latency(row.p95_seconds),
        latency(row.p99_seconds),
        row.flags_text(),
    ]
}

#[cfg(test)]
mod tests;
