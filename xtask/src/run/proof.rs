//! What `--once` checks: that every caller is answered, and that the mesh carried it as it should.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use mesh_harness::{Metrics, NodeProxy, until};
use serde_json::{Value, json};

use super::demo::{CALLS, Call, Demo, GETS};
use super::traffic::Traffic;
use super::view::{Totals, size};

/// Rounds that each caller must have been answered: two seconds' worth.
const ROUNDS: usize = 20;
/// Everything runs already; a loaded machine gets the rest.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests from which shares are told, and failures counted. 500 at 90/10 have a standard deviation of 1.3 points.
const REQUESTS: u64 = 500;
/// Of the flaky backend, fewer: its client is slower, so that its budget of retries is not used up.
const FLAKY: u64 = 100;
/// How far a share may be off, in tenths of a percent.
const TOLERANCE: u64 = 50;

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
    claims.extend(examples(demo));
    for node in &demo.world.mesh.nodes {
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
        .world
        .mesh
        .nodes
        .iter()
        .map(|node| (node.node.name.clone(), node.metrics().unwrap_or_default()));
    Proof {
        claims,
        nodes: nodes.collect(),
    }
}

/// What the examples promise, of the clients that have called since the start.
fn examples(demo: &Demo) -> Vec<Claim> {
    let start = Traffic::default();
    // Waits until a reading is late enough, and looks at it.
    let claim = |what: &str, check: &dyn Fn(&Traffic) -> Result<Option<()>>| {
        Claim::new(
            what.to_owned(),
            until("enough requests", DEADLINE, || check(&Traffic::read(demo)?)),
        )
    };
    let only = |rule: &'static str, backend: &'static str| {
        let start = &start;
        move |traffic: &Traffic| {
            let shares = traffic.shares(start, "shop/search", Some(rule));
            if shares.sum() < ROUNDS as u64 {
                return Ok(None);
            }
            shares.is_only(backend).map(Some)
        }
    };
    vec![
        claim("canary: one request in ten goes to version 2", &|traffic| {
            let shares = traffic.shares(&start, "shop/web", Some("shop/canary#split"));
            if shares.sum() < REQUESTS {
                return Ok(None);
            }
            let is_near = shares.per_mille("shop/web-v2").abs_diff(100) <= TOLERANCE;
            anyhow::ensure!(is_near, "the shares are {shares}");
            Ok(Some(()))
        }),
        claim(
            "ab-testing: who is of group b is answered by version 2",
            &only("shop/ab-testing#group-b", "shop/search-v2"),
        ),
        claim(
            "ab-testing: everybody else is answered by version 1",
            &only("shop/ab-testing#everybody", "shop/search-v1"),
        ),
        claim(
            "retries: of a backend that fails 30 % of requests, clients see 1 % at most",
            &|traffic| {
                let (requests, failed) = traffic.requests_and_failures("shop/stock");
                if requests < FLAKY {
                    return Ok(None);
                }
                let retried = traffic.retried("shop/stock");
                anyhow::ensure!(
                    failed * 100 <= requests && retried * 5 >= requests,
                    "of {requests} requests {failed} failed, {retried} were sent again"
                );
                Ok(Some(()))
            },
        ),
        claim(
            "outlier: the endpoint that fails always is left out",
            &|traffic| {
                let (requests, failed) = traffic.requests_and_failures("shop/prices");
                if requests < FLAKY {
                    return Ok(None);
                }
                let out = traffic.ejected("shop/prices");
                let is_out = out.iter().any(|ejected| ejected.workload == "shop/prices-3");
                anyhow::ensure!(is_out && out.len() == 1, "left out: {out:?}");
                // Three before each ejection, of which there is one in the first 30 seconds.
                anyhow::ensure!(failed <= 6, "{failed} of {requests} requests failed");
                Ok(Some(()))
            },
        ),
        Claim::new("every request is answered".to_owned(), answered(demo)),
    ]
}

/// Fails when a client got no answer, whatever its status.
fn answered(demo: &Demo) -> Result<()> {
    for (get, browser) in GETS.iter().zip(&demo.browsers) {
        let log = browser.log();
        let lost = log.lines().find(|line| {
            line.split_once("FAILED: ")
                .is_some_and(|(_, what)| !what.starts_with('5'))
        });
        if let Some(line) = lost {
            anyhow::bail!("{}: {line}", get.url);
        }
    }
    Ok(())
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
    let outbound = [
        "direction=outbound".to_owned(),
        format!("workload={}", call.client),
        format!("service={}", call.service),
        format!("peer={}", identity(call.service)),
        format!("transport={}", call.transport),
    ];
    seen(
        demo.world.node_of(call.client)?,
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
        demo.world.node_of(call.service)?,
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
