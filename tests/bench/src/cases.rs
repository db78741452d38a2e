//! Which groups there are, by what was asked for.

mod choice;
mod special;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::group::{Group, Pair, Subject};
use crate::load::{Kind, Load};
use crate::plan::{Distance, Named as _, Peer, Plan, Protocol, Size};
use crate::servers::Way;
use crate::stage::Stage;

pub use choice::{Job, Work, jobs};
pub use special::{churn, handshakes, new_connections, open_loop, routes};

/// What the mesh is compared with.
pub const PAIRS: [Pair; 2] = [
    Pair {
        subject: "nodemesh",
        base: "envoy",
        before: "",
        after: "_vs_envoy",
    },
    Pair {
        subject: "nodemesh",
        base: "direct",
        before: "",
        after: "_vs_direct",
    },
];

/// One case of requests and answers on connections that last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub distance: Distance,
    /// How many connections.
    pub connections: u32,
    /// Requests at once on each of them; more than 1 with HTTP/2 only.
    pub streams: u32,
    /// How large answers are.
    pub size: Size,
}

// === impl Case ===

impl Case {
    /// Begins its ratios' keys.
    pub fn key(&self) -> String {
        let streams = if self.streams > 1 {
            format!("s{}", self.streams)
        } else {
            String::new()
        };
        format!(
            "{}.{}.c{}{streams}.{}",
            self.protocol.name(),
            self.distance.name(),
            self.connections,
            self.size.name()
        )
    }

    /// Its group.
    pub fn group(&self, stage: &mut Stage, plan: &Plan, peers: &[Peer]) -> Result<Group> {
        let (size, streams) = (self.size, self.streams);
        let (way, kind) = match self.protocol {
            Protocol::L4 => (Way::Bytes, Kind::Http1 { size, closing: false }),
            Protocol::Http1 => (Way::Http1, Kind::Http1 { size, closing: false }),
            Protocol::Http2 => (Way::Http2, Kind::Http2 { size, streams }),
            Protocol::Grpc => (Way::Grpc, Kind::Grpc { size, streams }),
        };
        let aim = Aim {
            kind,
            distance: self.distance,
            way,
            connections: self.connections,
        };
        Ok(Group {
            key: self.key(),
            counted: "requests",
            unit: "request",
            subjects: aim.subjects(stage, plan, peers)?,
            pairs: PAIRS.to_vec(),
            is_alone: self.connections * streams == 1,
        })
    }
}

/// HTTP/1.1 between nodes over so many connections.
pub fn load(stage: &mut Stage, plan: &Plan, peer: Peer, connections: u32) -> Result<Load> {
    let aim = Aim {
        kind: Kind::Http1 {
            size: Size::One,
            closing: false,
        },
        distance: Distance::BetweenNodes,
        way: Way::Http1,
        connections,
    };
    Ok(aim.subject(stage, plan, peer, peer.name())?.load)
}

/// As many bytes as will pass.
pub fn bulk(
    stage: &mut Stage,
    plan: &Plan,
    peers: &[Peer],
    (distance, connections, down): (Distance, u32, bool),
) -> Result<Group> {
    let aim = Aim {
        kind: Kind::Bulk { down },
        distance,
        way: Way::Bulk,
        connections,
    };
    Ok(Group {
        key: bulk_key(distance, connections, down),
        counted: "throughput",
        unit: "MB",
        subjects: aim.subjects(stage, plan, peers)?,
        pairs: PAIRS.to_vec(),
        is_alone: false,
    })
}

fn bulk_key(distance: Distance, connections: u32, down: bool) -> String {
    let direction = if down { "down" } else { "up" };
    format!("bulk.{}.c{connections}.{direction}", distance.name())
}

/// The same load for every peer.
#[derive(Debug, Clone)]
struct Aim {
    kind: Kind,
    distance: Distance,
    way: Way,
    connections: u32,
}

// === impl Aim ===

impl Aim {
    fn subjects(&self, stage: &mut Stage, plan: &Plan, peers: &[Peer]) -> Result<Vec<Subject>> {
        peers
            .iter()
            .map(|peer| self.subject(stage, plan, *peer, peer.name()))
            .collect()
    }

    fn subject(&self, stage: &mut Stage, plan: &Plan, peer: Peer, name: &str) -> Result<Subject> {
        Ok(Subject {
            name: name.to_owned(),
            load: Load {
                kind: self.kind.clone(),
                from: stage.client(peer).place.clone(),
                target: stage.target(peer, self.distance, self.way)?,
                connections: self.connections,
                folder: stage.folder()?,
                oha: plan.oha.clone(),
            },
            proxies: stage.proxies(peer)?,
            processes: stage.processes(peer)?,
            swap: None,
        })
    }
}

/// The last of a peer's proxies: the one that takes what comes over the wire.
fn last(proxies: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let last = proxies.last().context("a peer without proxies")?;
    Ok(vec![last.clone()])
}
