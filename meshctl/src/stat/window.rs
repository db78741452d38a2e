//! From counts to rates and percentiles.

use std::collections::BTreeMap;

use mesh_api::admin::{Stats, StatsGroup, StatsRow};
use serde::Serialize;

/// What is shown of a group.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// What its requests have in common.
    #[serde(flatten)]
    pub(super) group: StatsGroup,
    /// How long it was looked at.
    pub(super) window_seconds: f64,
    /// Requests that ended meanwhile.
    pub(super) requests: u64,
    /// Those of them that failed.
    pub(super) failures: u64,
    /// Requests a second.
    pub(super) rps: f64,
    /// The share that did not fail, from 0 to 1; none without requests.
    pub(super) success_rate: Option<f64>,
    /// Half of them took at most so long.
    pub(super) p50_seconds: Option<f64>,
    /// 95 of 100.
    pub(super) p95_seconds: Option<f64>,
    /// 99 of 100.
    pub(super) p99_seconds: Option<f64>,
    /// How many by status.
    pub(super) codes: BTreeMap<String, u64>,
    /// How many by response flag.
    pub(super) flags: BTreeMap<String, u64>,
    /// Bytes of their bodies.
    pub(super) request_bytes: u64,
    /// Bytes of the answers' bodies.
    pub(super) response_bytes: u64,
}

/// What was counted between two answers of a node, or since its start.
pub(super) fn rows(before: Option<&Stats>, now: &Stats) -> Vec<Row> {
    let since = before.map_or(0, |before| before.uptime_micros);
    let window_seconds = float(now.uptime_micros.saturating_sub(since)) / 1e6;
    let before: BTreeMap<&StatsGroup, &StatsRow> = before
        .into_iter()
        .flat_map(|before| &before.rows)
        .map(|row| (&row.group, row))
        .collect();
    now.rows
        .iter()
        .map(|now_row| {
            let counted = before
                .get(&now_row.group)
                .map_or_else(|| now_row.clone(), |before| difference(before, now_row));
            Row::new(counted, &now.bounds_micros, window_seconds)
        })
        .collect()
}

/// Series of what is gone may have expired in between: then less was counted than before, which is shown as nothing.
fn difference(before: &StatsRow, now: &StatsRow) -> StatsRow {
    let by_name = |before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>| {
        now.iter()
            .map(|(name, count)| {
                let before = before.get(name).copied().unwrap_or_default();
                (name.clone(), count.saturating_sub(before))
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    StatsRow {
        group: now.group.clone(),
        requests: now.requests.saturating_sub(before.requests),
        failures: now.failures.saturating_sub(before.failures),
        codes: by_name(&before.codes, &now.codes),
        flags: by_name(&before.flags, &now.flags),
        request_bytes: now.request_bytes.saturating_sub(before.request_bytes),
        response_bytes: now.response_bytes.saturating_sub(before.response_bytes),
        latency: now
            .latency
            .iter()
            .enumerate()
            .map(|(place, count)| {
                count.saturating_sub(before.latency.get(place).copied().unwrap_or_default())
            })
            .collect(),
    }
}

// === impl Row ===

impl Row {
    fn new(counted: StatsRow, bounds: &[u64], window_seconds: f64) -> Self {
        let at = |share| percentile(&counted.latency, bounds, share);
        let succeeded = counted.requests.saturating_sub(counted.failures);
        Self {
            window_seconds,
            requests: counted.requests,
            failures: counted.failures,
            rps: if window_seconds > 0.0 {
                float(counted.requests) / window_seconds
            } else {
                0.0
            },
            success_rate: (counted.requests > 0).then(|| float(succeeded) / float(counted.requests)),
            p50_seconds: at(0.5),
            p95_seconds: at(0.95),
            p99_seconds: at(0.99),
            codes: counted.codes,
            flags: counted.flags,
            request_bytes: counted.request_bytes,
            response_bytes: counted.response_bytes,
            group: counted.group,
        }
    }

    /// Whether it is of the namespace, or of any when there is none to ask for.
    pub(super) fn is_in(&self, namespace: Option<&str>) -> bool {
        let name = if self.group.workload.is_empty() {
            &self.group.service
        } else {
            &self.group.workload
        };
        namespace.is_none_or(|namespace| name.split_once('/').is_some_and(|(own, _)| own == namespace))
    }

    /// Whether its requests are in no other row as well.
    pub(super) fn is_counted_once(&self) -> bool {
        self.group.role != "server"
    }

    /// `UH 12, RL 3`, the most frequent first.
    pub(super) fn flags_text(&self) -> String {
        let mut flags: Vec<(&String, &u64)> = self.flags.iter().collect();
        flags.sort_by(|a, b| b.1.cmp(a.1));
        let parts = flags.iter().map(|(flag, count)| format!("{flag} {count}"));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The duration, in seconds, that this share of the requests did not exceed; between two bounds as if they were spread
/// evenly. Beyond the last bound nothing is known but that: the bound is given.
fn percentile(counts: &[u64], bounds: &[u64], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = float(total) * share;
    let mut below = 0;
    let mut lower = 0;
    for (count, bound) in counts.iter().zip(bounds) {
        if *count > 0 && float(below + count) >= wanted {
            let part = (wanted - float(below)) / float(*count);
            return Some((float(lower) + part * float(bound - lower)) / 1e6);
        }
        below += count;
        lower = *bound;
    }
    Some(float(lower) / 1e6)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds below 2^53, and only three digits are shown"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

    #[test]
    fn percentiles_lie_between_the_bounds_that_hold_them() {
        let near = |counts: &[u64], share, expected: f64| {
            let found = percentile(counts, &BOUNDS, share).expect("there are requests");
            assert!((found - expected).abs() < 1e-6, "{counts:?} {share}: {found}");
        };
        near(&[100, 0, 0, 0, 0], 0.5, 0.0005);
        near(&[50, 50, 0, 0, 0], 0.5, 0.001);
        near(&[50, 50, 0, 0, 0], 0.95, 0.0091);
        near(&[0, 0, 0, 10, 0], 0.5, 0.55);
        near(&[99, 0, 0, 0, 1], 0.99, 0.001);
        near(&[9, 0, 0, 0, 1], 0.99, 1.0);
        assert_eq!(percentile(&[0, 0, 0, 0, 0], &BOUNDS, 0.5), None);
    }

    fn stats(seconds: u64, rows: Vec<StatsRow>) -> Stats {
        Stats {
            uptime_micros: seconds * 1_000_000,
            in_flight: 0,
            bounds_micros: BOUNDS.to_vec(),
            overflowed: 0,
            rows,
        }
    }

    fn row(service: &str, requests: u64, failures: u64) -> StatsRow {
        StatsRow {
            group: StatsGroup {
                service: service.to_owned(),
                ..StatsGroup::default()
            },
            requests,
            failures,
            codes: [
                ("200".to_owned(), requests - failures),
                ("503".to_owned(), failures),
            ]
            .into(),
            flags: [("UH".to_owned(), failures)].into(),
            latency: vec![requests, 0, 0, 0, 0],
            ..StatsRow::default()
        }
    }

    #[test]
    fn a_window_is_the_difference_of_two_answers() {
        let before = stats(100, vec![row("shop/web:80", 1000, 10), row("shop/idle:80", 5, 5)]);
        let now = stats(
            110,
            vec![
                row("shop/web:80", 1200, 60),
                row("shop/idle:80", 5, 5),
                row("shop/new:80", 10, 0),
            ],
        );
        let rows = rows(Some(&before), &now);
        let web = &rows[0];
        assert!((web.rps - 20.0).abs() < 1e-9);
        assert_eq!(web.success_rate, Some(0.75));
        assert_eq!(
            web.codes,
            [("200".to_owned(), 150), ("503".to_owned(), 50)].into()
        );
        assert_eq!(web.flags_text(), "UH 50");
        let idle = &rows[1];
        assert_eq!(
            (idle.requests, idle.success_rate, idle.p99_seconds),
            (0, None, None)
        );
        assert_eq!(idle.flags_text(), "");
        assert_eq!(rows[2].requests, 10, "all of what is new");
    }

    #[test]
    fn what_expired_in_between_is_nothing_and_no_flood() {
        let before = stats(100, vec![row("shop/web:80", 1000, 10)]);
        let now = stats(110, vec![row("shop/web:80", 900, 0)]);
        let rows = rows(Some(&before), &now);
        assert_eq!((rows[0].requests, rows[0].failures), (0, 0));
    }
}
