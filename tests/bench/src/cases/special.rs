//! The groups beside requests on lasting connections and bulk: each asks one question.

use anyhow::{Context, Result};

use super::{Aim, PAIRS, last};
use crate::group::{Group, Pair};
use crate::load::Kind;
use crate::plan::{Distance, Peer, Plan, Protocol, Size};
use crate::servers::Way;
use crate::stage::Stage;

/// The connections of all of them but the handshakes.
const CONNECTIONS: u32 = 32;
/// Handshakes at once: enough to keep every core busy.
const CLIENTS: u32 = 8;
const WHERE: &str = "l7-http1.between-nodes.c32.1KiB";

fn aim(kind: Kind, way: Way) -> Aim {
    Aim {
        kind,
        distance: Distance::BetweenNodes,
        way,
        connections: CONNECTIONS,
    }
}

const REQUESTS: Kind = Kind::Http1 {
    size: Size::One,
    closing: false,
};

/// A connection for each request.
pub fn new_connections(stage: &mut Stage, plan: &Plan, peers: &[Peer], protocol: Protocol) -> Result<Group> {
    let way = match protocol {
        Protocol::L4 => Way::Bytes,
        _ => Way::Http1,
    };
    let kind = Kind::Http1 {
        size: Size::One,
        closing: true,
    };
    Ok(Group {
        key: format!("new-connections.{}.between-nodes.c32.1KiB", protocol.name()),
        counted: "connections",
        unit: "connection",
        subjects: aim(kind, way).subjects(stage, plan, peers)?,
        pairs: PAIRS.to_vec(),
        is_alone: false,
    })
}

/// Full TLS handshakes with the second proxy, by the same client: its CPU time is that proxy's alone.
pub fn handshakes(stage: &mut Stage, plan: &Plan, peers: &[Peer]) -> Result<Group> {
    let mut subjects = Vec::new();
    for &peer in peers.iter().filter(|peer| **peer != Peer::Direct) {
        let mut subject = aim(REQUESTS, Way::Http1)
            .subjects(stage, plan, &[peer])?
            .pop()
            .context("a peer without a subject")?;
        let (target, credentials) = stage.entrance(peer)?;
        subject.load.kind = Kind::Handshakes(credentials);
        subject.load.from = stage.stranger().place.clone();
        subject.load.target = target;
        subject.load.connections = CLIENTS;
        subject.proxies = last(&subject.proxies)?;
        subjects.push(subject);
    }
    Ok(Group {
        key: format!("handshakes.c{CLIENTS}"),
        counted: "handshakes",
        unit: "handshake",
        subjects,
        pairs: PAIRS.to_vec(),
        is_alone: false,
    })
}

/// One rule against a thousand.
pub fn routes(stage: &mut Stage, plan: &Plan, peers: &[Peer]) -> Result<Group> {
    let mut subjects = Vec::new();
    for &peer in peers {
        let name = match peer {
            Peer::Direct => continue,
            Peer::Nodemesh => "nodemesh-1000",
            Peer::Envoy => "envoy-1000",
        };
        subjects.extend(aim(REQUESTS, Way::Http1).subjects(stage, plan, &[peer])?);
        subjects.push(aim(REQUESTS, Way::Many).subject(stage, plan, peer, name)?);
    }
    Ok(Group {
        key: format!("routes.{WHERE}"),
        counted: "requests",
        unit: "request",
        subjects,
        pairs: vec![
            pair("nodemesh-1000", "nodemesh", "", "_1000_vs_1"),
            pair("envoy-1000", "envoy", "envoy_", "_1000_vs_1"),
            pair("nodemesh-1000", "envoy-1000", "", "_vs_envoy"),
        ],
        is_alone: false,
    })
}

/// Endpoints at rest against one that comes and goes ten times a second.
pub fn churn(stage: &mut Stage, plan: &Plan, peers: &[Peer]) -> Result<Group> {
    let mut subjects = Vec::new();
    for &peer in peers {
        let name = match peer {
            Peer::Direct => continue,
            Peer::Nodemesh => "nodemesh-churn",
            Peer::Envoy => "envoy-churn",
        };
        subjects.extend(aim(REQUESTS, Way::Churn).subjects(stage, plan, &[peer])?);
        let mut subject = aim(REQUESTS, Way::Churn).subject(stage, plan, peer, name)?;
        subject.swap = Some(stage.swap(peer)?);
        subjects.push(subject);
    }
    Ok(Group {
        key: format!("churn.{WHERE}"),
        counted: "requests",
        unit: "request",
        subjects,
        pairs: vec![
            pair("nodemesh-churn", "nodemesh", "", "_churn_vs_rest"),
            pair("envoy-churn", "envoy", "envoy_", "_churn_vs_rest"),
            pair("nodemesh-churn", "envoy-churn", "", "_vs_envoy"),
        ],
        is_alone: false,
    })
}

/// Latency at a fixed rate.
pub fn open_loop(stage: &mut Stage, plan: &Plan, peers: &[Peer], rate: f64) -> Result<Group> {
    let kind = Kind::OpenLoop {
        size: Size::One,
        rate,
    };
    Ok(Group {
        key: format!("open-loop.{WHERE}"),
        counted: "requests",
        unit: "request",
        subjects: aim(kind, Way::Http1).subjects(stage, plan, peers)?,
        pairs: PAIRS.to_vec(),
        is_alone: false,
    })
}

fn pair(subject: &'static str, base: &'static str, before: &'static str, after: &'static str) -> Pair {
    Pair {
        subject,
        base,
        before,
        after,
    }
}
