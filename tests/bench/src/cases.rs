//! Which groups there are, by what was asked for.

use anyhow::Result;

use crate::group::{Group, Pair, Subject};
use crate::load::{Kind, Load};
use crate::plan::{Distance, Named as _, Peer, Plan, Protocol, Size, chosen};
use crate::stage::Stage;

/// Connections of the cases of requests and answers.
const CONNECTIONS: [u32; 3] = [1, 32, 256];
/// What the mesh is compared with.
const PAIRS: [Pair; 2] = [
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

/// One case of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub distance: Distance,
    /// How many connections.
    pub connections: u32,
    /// How large answers are.
    pub size: Size,
}

// === impl Case ===

impl Case {
    /// Begins its ratios' keys.
    pub fn key(&self) -> String {
        let Self {
            protocol,
            distance,
            connections,
            size,
        } = self;
        format!(
            "{}.{}.c{connections}.{}",
            protocol.name(),
            distance.name(),
            size.name()
        )
    }

    /// Its group.
    pub fn group(&self, stage: &mut Stage, peers: &[Peer]) -> Result<Group> {
        let size = self.size;
        let kind = match self.protocol {
            Protocol::L4 | Protocol::Http1 => Kind::Http1 { size, closing: false },
            Protocol::Http2 | Protocol::Grpc => Kind::Http2 { size, streams: 1 },
        };
        let mut subjects = Vec::new();
        for &peer in peers {
            subjects.push(Subject {
                name: peer.name().to_owned(),
                load: Load {
                    kind: kind.clone(),
                    from: stage.client(peer).place.clone(),
                    target: stage.target(peer, self.distance, self.protocol)?,
                    connections: self.connections,
                    folder: stage.folder()?,
                },
                proxies: stage.proxies(peer)?,
                processes: stage.processes(peer)?,
            });
        }
        Ok(Group {
            key: self.key(),
            counted: "requests",
            unit: "request",
            subjects,
            pairs: PAIRS.to_vec(),
            is_alone: self.connections == 1,
        })
    }
}

/// The cases of requests and answers that were asked for.
pub fn cases(plan: &Plan) -> Result<Vec<Case>> {
    let connections = if plan.connections.is_empty() {
        CONNECTIONS.to_vec()
    } else {
        plan.connections.clone()
    };
    let (distances, sizes) = (chosen::<Distance>(&plan.places)?, chosen::<Size>(&plan.sizes)?);
    let mut cases = Vec::new();
    for protocol in chosen::<Protocol>(&plan.cases)? {
        for &distance in &distances {
            for &connections in &connections {
                cases.extend(sizes.iter().map(|&size| Case {
                    protocol,
                    distance,
                    connections,
                    size,
                }));
            }
        }
    }
    Ok(cases)
}
