//! What the project has set itself, and whether a run met it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::group::Measured;

/// A bound on one figure.
#[derive(Debug, Clone, Copy)]
struct Target {
    what: &'static str,
    of: Of,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Of {
    /// A ratio, by its key.
    Ratio(&'static str),
    /// A figure of the mesh's own: the group's key, the figure.
    Figure(&'static str, &'static str),
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A target, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// For people.
    pub what: String,
    /// The ratio's key, or `group.subject.figure`.
    pub key: String,
    /// For people, such as `≥ 2`.
    pub bound: String,
    /// The bound as a number.
    pub limit: f64,
    /// What was measured.
    pub value: f64,
    /// Whether it is within the bound.
    pub met: bool,
}

const fn ratio(what: &'static str, key: &'static str, bound: Bound) -> Target {
    Target {
        what,
        of: Of::Ratio(key),
        bound,
    }
}

const fn memory(what: &'static str, figure: &'static str, most: f64) -> Target {
    Target {
        what,
        of: Of::Figure("memory", figure),
        bound: Bound::AtMost(most),
    }
}

/// Of 1 KiB answers and 32 connections unless the words say otherwise.
const TARGETS: [Target; 22] = [
    ratio(
        "HTTP/1.1 between nodes: requests, to Envoy's",
        "l7-http1.between-nodes.c32.1KiB.requests_vs_envoy",
        Bound::AtLeast(2.0),
    ),
    ratio(
        "HTTP/1.1 between nodes: CPU of both proxies for a request, to Envoy's",
        "l7-http1.between-nodes.c32.1KiB.cpu_vs_envoy",
        Bound::AtMost(0.45),
    ),
    ratio(
        "HTTP/1.1 between nodes, half of Envoy's rate: p99, to Envoy's",
        "open-loop.l7-http1.between-nodes.c32.1KiB.p99_vs_envoy",
        Bound::AtMost(1.0),
    ),
    ratio(
        "HTTP/1.1 between nodes, half of Envoy's rate: p99.9, to Envoy's",
        "open-loop.l7-http1.between-nodes.c32.1KiB.p99.9_vs_envoy",
        Bound::AtMost(1.0),
    ),
    ratio(
        "HTTP/1.1 between nodes, 1 connection: median added, to what Envoy adds",
        "l7-http1.between-nodes.c1.1KiB.added_median_vs_envoy",
        Bound::AtMost(0.4),
    ),
    ratio(
        "HTTP/2 between nodes: requests, to Envoy's",
        "l7-http2.between-nodes.c32.1KiB.requests_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "gRPC between nodes: calls, to Envoy's",
        "grpc.between-nodes.c32.1KiB.requests_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "HTTP/1.1 on one node: requests, to a direct connection's",
        "l7-http1.same-node.c32.1KiB.requests_vs_direct",
        Bound::AtLeast(0.5),
    ),
    ratio(
        "HTTP/1.1 on one node: requests, to one Envoy's",
        "l7-http1.same-node.c32.1KiB.requests_vs_envoy",
        Bound::AtLeast(2.0),
    ),
    ratio(
        "TCP between nodes, 1 connection, down: bytes, to Envoy's",
        "bulk.between-nodes.c1.down.throughput_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "TCP between nodes, 8 connections, down: bytes, to Envoy's",
        "bulk.between-nodes.c8.down.throughput_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "TCP between nodes, 1 connection, up: bytes, to Envoy's",
        "bulk.between-nodes.c1.up.throughput_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "TCP between nodes, 8 connections, up: bytes, to Envoy's",
        "bulk.between-nodes.c8.up.throughput_vs_envoy",
        Bound::AtLeast(1.5),
    ),
    ratio(
        "TCP on one node, 1 connection, down: bytes, to a direct connection's",
        "bulk.same-node.c1.down.throughput_vs_direct",
        Bound::AtLeast(0.9),
    ),
    ratio(
        "TCP on one node, 1 connection, up: bytes, to a direct connection's",
        "bulk.same-node.c1.up.throughput_vs_direct",
        Bound::AtLeast(0.9),
    ),
    ratio(
        "TCP on one node, ping-pong of 1 KiB: round trips, to a direct connection's",
        "l4.same-node.c32.1KiB.requests_vs_direct",
        Bound::AtLeast(0.9),
    ),
    ratio(
        "full TLS handshakes with a node, to Envoy's",
        "handshakes.c8.handshakes_vs_envoy",
        Bound::AtLeast(1.0),
    ),
    ratio(
        "1,000 rules: requests, to 1 rule's",
        "routes.l7-http1.between-nodes.c32.1KiB.requests_1000_vs_1",
        Bound::AtLeast(0.97),
    ),
    memory("memory at rest with 4 workloads, MB", "rest_mb", 25.0),
    memory(
        "memory under 1,000 active connections, MB",
        "active_peak_mb",
        60.0,
    ),
    memory(
        "memory of an idle TCP connection, both nodes, bytes",
        "idle_l4_bytes",
        12288.0,
    ),
    memory(
        "memory of an idle HTTP connection, both nodes, bytes",
        "idle_l7_bytes",
        12288.0,
    ),
];

/// Every target for which there is a figure.
pub fn verdicts(measured: &[Measured]) -> Vec<Verdict> {
    let ratios: BTreeMap<&str, f64> = measured
        .iter()
        .flat_map(|one| &one.ratios)
        .map(|(key, value)| (key.as_str(), value.median))
        .collect();
    let figure = |group: &str, figure: &str| {
        let group = measured.iter().find(|one| one.key == group)?;
        Some(group.summary.get("nodemesh")?.get(figure)?.median)
    };
    let verdict = |target: &Target| {
        let (key, value) = match target.of {
            Of::Ratio(key) => (key.to_owned(), *ratios.get(key)?),
            Of::Figure(group, name) => (format!("{group}.nodemesh.{name}"), figure(group, name)?),
        };
        let (sign, limit, met) = match target.bound {
            Bound::AtLeast(limit) => ('≥', limit, value >= limit),
            Bound::AtMost(limit) => ('≤', limit, value <= limit),
        };
        Some(Verdict {
            what: target.what.to_owned(),
            key,
            bound: format!("{sign} {limit}"),
            limit,
            value,
            met,
        })
    };
    TARGETS.iter().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::PAIRS;
    use crate::group::{Round, ratios, summaries};

    fn measured(key: &str, figures: &[(&str, &str, f64)]) -> Measured {
        let mut round = Round::new();
        for (subject, figure, value) in figures {
            let of_subject = round.entry((*subject).to_owned()).or_default();
            of_subject.insert((*figure).to_owned(), *value);
        }
        let rounds = vec![round];
        Measured {
            key: key.to_owned(),
            counted: "requests".to_owned(),
            unit: "request".to_owned(),
            seconds: 1,
            commands: BTreeMap::new(),
            summary: summaries(&rounds),
            ratios: ratios(key, &PAIRS, true, &rounds),
            rounds,
        }
    }

    #[test]
    fn a_target_is_judged_by_the_measured_ratio_and_left_out_where_there_is_none() {
        let all = [
            measured(
                "l7-http1.between-nodes.c32.1KiB",
                &[
                    ("nodemesh", "requests", 30.0),
                    ("envoy", "requests", 10.0),
                    ("nodemesh", "cpu", 5.0),
                    ("envoy", "cpu", 10.0),
                ],
            ),
            measured("memory", &[("nodemesh", "rest_mb", 20.0)]),
        ];
        let found: Vec<(String, bool)> = verdicts(&all)
            .into_iter()
            .map(|verdict| (verdict.key, verdict.met))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "l7-http1.between-nodes.c32.1KiB.requests_vs_envoy".to_owned(),
                    true
                ),
                ("l7-http1.between-nodes.c32.1KiB.cpu_vs_envoy".to_owned(), false),
                ("memory.nodemesh.rest_mb".to_owned(), true),
            ]
        );
    }
}
