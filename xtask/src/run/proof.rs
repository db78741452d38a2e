//! What `--once` checks: that every caller is answered, and that the mesh carried it as it should.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use mesh_harness::{Metrics, NodeProxy, until};
use serde_json::{Value, json};

use super::demo::{CALLS, Call, Demo};
use super::view::{Totals, size};

/// Rounds that each caller must have been answered: two seconds' worth.
const ROUNDS: usize = 20;
/// Everything runs already; a loaded machine gets the rest.
const DEADLINE: Duration = Duration::from_secs(30);

/// One thing that must hold, and whether it does.
struct Claim {
    what: String,
    problem: Option<String>,
}

/// All of them, with the nodes' counters.
pub(super) struct Proof {
    claims: Vec<Claim>,
    nodes: Vec<(String, Metrics)>,
}

/// Lets the demo run for a while, and looks.
pub(super) fn gather(demo: &Demo) -> Proof {
    let mut claims = Vec::new();
    for (call, caller) in CALLS.iter().zip(&demo.callers) {
        claims.push(Claim::new(
            format!(
                "{} is answered by {} at {}, {ROUNDS} times",
                call.client, call.service, call.address
            ),
            until("the rounds", DEADLINE, || {
                let log = caller.log();
                anyhow::ensure!(!log.contains("FAILED"), "a round failed: {}", caller.log_tail());
                Ok((log.lines().count() >= ROUNDS).then_some(()))
            }),
        ));
        claims.push(Claim::new(carried(call), check_transport(demo, call)));
    }
    for node in &demo.mesh.nodes {
        for side in ["client", "server"] {
            claims.push(Claim::new(
                format!("{} has made mutual TLS handshakes as a {side}", node.node.name),
                check_handshakes(node, side),
            ));
        }
        claims.push(Claim::new(
            format!("{} has not failed a connection", node.node.name),
            check_failures(node),
        ));
    }
    let nodes = demo
        .mesh
        .nodes
        .iter()
        .map(|node| (node.node.name.clone(), node.metrics().unwrap_or_default()));
    Proof {
        claims,
        nodes: nodes.collect(),
    }
}

fn carried(call: &Call) -> String {
    match call.transport {
        "hbone" => format!(
            "{} to {} goes through both proxies over mutual TLS",
            call.client, call.service
        ),
        _ => format!(
            "{} to {} stays within its node, with both identities known",
            call.client, call.service
        ),
    }
}

/// Looks for the connection at the client's node, and for one over mutual TLS at the server's node too: each must
/// name the other side's identity.
fn check_transport(demo: &Demo, call: &Call) -> Result<()> {
    let on_node = |name: &str| {
        demo.workloads
            .iter()
            .find(|(known, ..)| *known == name)
            .map_or("", |(_, on, _)| *on)
    };
    let outbound = [
        "direction=outbound".to_owned(),
        format!("workload={}", call.client),
        format!("service={}", call.service),
        format!("peer={}", identity(call.service)),
        format!("transport={}", call.transport),
    ];
    seen(
        demo.mesh.node(on_node(call.client))?,
        "outbound",
        call.client,
        call.service,
        call.transport,
        &outbound,
    )?;
    if call.transport != "hbone" {
        return Ok(());
    }
    let inbound = [
        "direction=inbound".to_owned(),
        format!("peer={}", identity(call.client)),
        "transport=hbone".to_owned(),
    ];
    seen(
        demo.mesh.node(on_node(call.service))?,
        "inbound",
        call.service,
        call.client,
        "hbone",
        &inbound,
    )
}

/// Waits until a node shows a connection: open now, or closed and in its access log.
fn seen(
    node: &NodeProxy,
    direction: &str,
    workload: &str,
    peer: &str,
    transport: &str,
    log: &[String],
) -> Result<()> {
    let identity = identity(peer);
    until("the connection", DEADLINE, || {
        let open = node.admin("/connections")?;
        let open = open.as_array().is_some_and(|all| {
            all.iter().any(|one| {
                one["direction"] == direction
                    && one["workload"] == workload
                    && one["peer"] == identity
                    && one["transport"] == transport
            })
        });
        let closed = node
            .log()
            .lines()
            .any(|line| log.iter().all(|part| line.contains(part)));
        Ok((open || closed).then_some(()))
    })
}

/// In the demo a workload's Service, service account and name are the same.
fn identity(name: &str) -> String {
    let (namespace, account) = name.split_once('/').unwrap_or_default();
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

fn check_handshakes(node: &NodeProxy, side: &str) -> Result<()> {
    let labels = [("side", side), ("result", "ok")];
    let count = node.metrics()?.sum("mesh_node_tls_handshakes_total", &labels);
    anyhow::ensure!(
        count >= 1.0,
        "mesh_node_tls_handshakes_total{{side={side}}} is {count}"
    );
    Ok(())
}

fn check_failures(node: &NodeProxy) -> Result<()> {
    let metrics = node.metrics()?;
    let failed: Vec<String> = metrics
        .matching("mesh_node_connections_failed_total", &[])
        .filter(|sample| sample.value > 0.0)
        .map(|sample| format!("{:?}: {}", sample.labels, sample.value))
        .collect();
    anyhow::ensure!(failed.is_empty(), "{}", failed.join(", "));
    Ok(())
}

// === impl Claim ===

impl Claim {
    fn new(what: String, outcome: Result<()>) -> Self {
        Self {
            what,
            problem: outcome.err().map(|error| format!("{error:#}")),
        }
    }
}

// === impl Proof ===

impl Proof {
    /// Whether every claim holds.
    pub(super) fn holds(&self) -> bool {
        self.claims.iter().all(|claim| claim.problem.is_none())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let claims = self.claims.iter();
        let claims: Vec<Value> = claims
            .map(|claim| json!({ "claim": claim.what, "holds": claim.problem.is_none(), "problem": claim.problem }))
            .collect();
        let nodes = self.nodes.iter().map(|(name, metrics)| {
            let Totals {
                opened,
                failed,
                sent,
                received,
                handshakes,
            } = Totals::of(metrics);
            json!({
                "node": name,
                "connections_opened": opened,
                "connections_failed": failed,
                "sent_bytes": sent,
                "received_bytes": received,
                "tls_handshakes": handshakes,
            })
        });
        json!({ "holds": self.holds(), "claims": claims, "nodes": nodes.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for claim in &self.claims {
            writeln!(
                f,
                "{}  {}",
                if claim.problem.is_none() { "ok  " } else { "FAIL" },
                claim.what
            )?;
            if let Some(problem) = &claim.problem {
                writeln!(f, "      {problem}")?;
            }
        }
        for (name, metrics) in &self.nodes {
            let Totals {
                opened,
                failed,
                sent,
                received,
                handshakes,
            } = Totals::of(metrics);
            let (sent, received) = (size(sent), size(received));
            writeln!(
                f,
                "{name}: {opened} connections, {failed} failed, {sent} sent, {received} received, {handshakes} TLS handshakes"
            )?;
        }
        Ok(())
    }
}
