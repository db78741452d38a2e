//! What is to be done, in which order, how often and how long: everything, the targets' cases, or the least that shows
//! that the bench works.

use anyhow::Result;

use super::{Case, bulk, churn, handshakes, new_connections, open_loop, routes};
use crate::group::Group;
use crate::plan::{Distance, Named as _, Peer, Plan, Protocol, Size, Topic, chosen};
use crate::stage::{Extras, Stage};

/// Connections of the cases of requests and answers.
const CONNECTIONS: [u32; 3] = [1, 32, 256];
/// Requests at once on the one connection of the cases that look at multiplexing.
const STREAMS: u32 = 32;
/// Connections of bulk.
const BULK: [u32; 2] = [1, 8];
/// The claims want five rounds at least.
const ROUNDS: u32 = 5;
/// Where a quick run has time for less.
const FEW_ROUNDS: u32 = 3;
/// Of a turn. Shorter ones are moved by whatever else the machine does.
const SECONDS: u32 = 2;
/// A rate wants some time for its slowest thousandth.
const OPEN_LOOP_SECONDS: u32 = 5;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What.
    pub work: Work,
    /// Who is measured.
    pub peers: Vec<Peer>,
    /// How many rounds.
    pub rounds: u32,
    /// How long a turn is.
    pub seconds: u32,
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Requests on lasting connections.
    Requests(Case),
    /// As many bytes as will pass, over so many connections, down or up.
    Bulk(Distance, u32, bool),
    /// A connection for each request.
    NewConnections(Protocol),
    /// Full TLS handshakes.
    Handshakes,
    /// One rule against a thousand.
    Routes,
    /// Endpoints that come and go.
    Churn,
    /// Latency at a fixed rate.
    OpenLoop,
    /// Resident memory, on stages of its own.
    Memory,
}

// === impl Job ===

impl Job {
    /// How many turns it takes.
    pub fn turns(&self) -> u32 {
        let subjects = match self.work {
            Work::Handshakes => self.proxied(),
            Work::Routes | Work::Churn => 2 * self.proxied(),
            _ => self.peers.len(),
        };
        u32::try_from(subjects).unwrap_or(u32::MAX) * self.rounds
    }

    fn proxied(&self) -> usize {
        self.peers.iter().filter(|peer| **peer != Peer::Direct).count()
    }

    /// What the stage must have beside the usual.
    pub fn extras(&self) -> Extras {
        Extras {
            many: self.work == Work::Routes,
            churn: self.work == Work::Churn,
        }
    }

    /// The group; none for memory, which is no group. `rate` is asked for the open loop only.
    pub fn group(
        &self,
        stage: &mut Stage,
        plan: &Plan,
        rate: impl FnOnce(&mut Stage) -> Result<f64>,
    ) -> Result<Option<Group>> {
        let peers = &self.peers;
        let group = match self.work {
            Work::Requests(case) => case.group(stage, plan, peers)?,
            Work::Bulk(distance, connections, down) => {
                bulk(stage, plan, peers, (distance, connections, down))?
            }
            Work::NewConnections(protocol) => new_connections(stage, plan, peers, protocol)?,
            Work::Handshakes => handshakes(stage, plan, peers)?,
            Work::Routes => routes(stage, plan, peers)?,
            Work::Churn => churn(stage, plan, peers)?,
            Work::OpenLoop => {
                let rate = rate(stage)?;
                open_loop(stage, plan, peers, rate)?
            }
            Work::Memory => return Ok(None),
        };
        Ok(Some(group))
    }
}

/// What was asked for.
pub fn jobs(plan: &Plan) -> Result<Vec<Job>> {
    let (peers, topics) = (plan.peers()?, plan.topics()?);
    let mut jobs = if plan.smoke {
        smoke()
    } else if plan.quick {
        quick()
    } else {
        let mut all = Vec::new();
        for topic in topics {
            all.extend(works(plan, topic)?.into_iter().map(usual));
        }
        all
    };
    for job in &mut jobs {
        job.peers.retain(|peer| peers.contains(peer));
        job.rounds = plan.rounds.unwrap_or(job.rounds);
        job.seconds = plan.seconds.unwrap_or(job.seconds);
    }
    jobs.retain(|job| !job.peers.is_empty());
    Ok(jobs)
}

fn usual(work: Work) -> Job {
    let seconds = if work == Work::OpenLoop {
        OPEN_LOOP_SECONDS
    } else {
        SECONDS
    };
    Job {
        peers: peers_of(&work),
        work,
        rounds: ROUNDS,
        seconds,
    }
}

fn peers_of(work: &Work) -> Vec<Peer> {
    match work {
        Work::Handshakes | Work::Routes | Work::Churn | Work::Memory => vec![Peer::Nodemesh, Peer::Envoy],
        _ => Peer::ALL.to_vec(),
    }
}

fn works(plan: &Plan, topic: Topic) -> Result<Vec<Work>> {
    let distances = chosen::<Distance>(&plan.places)?;
    Ok(match topic {
        Topic::Requests(protocol) => cases(plan, protocol)?.into_iter().map(Work::Requests).collect(),
        Topic::Bulk => {
            let counts = or_else(&plan.connections, &BULK);
            let ways = distances.iter().flat_map(|distance| {
                let of = counts
                    .iter()
                    .flat_map(move |count| [(*count, true), (*count, false)]);
                of.map(move |(count, down)| Work::Bulk(*distance, count, down))
            });
            ways.collect()
        }
        Topic::NewConnections => [Protocol::L4, Protocol::Http1].map(Work::NewConnections).into(),
        Topic::Handshakes => vec![Work::Handshakes],
        Topic::Routes => vec![Work::Routes],
        Topic::Churn => vec![Work::Churn],
        Topic::OpenLoop => vec![Work::OpenLoop],
        Topic::Memory => vec![Work::Memory],
    })
}

fn cases(plan: &Plan, protocol: Protocol) -> Result<Vec<Case>> {
    let (distances, sizes) = (chosen::<Distance>(&plan.places)?, chosen::<Size>(&plan.sizes)?);
    let mut shapes: Vec<(u32, u32)> = or_else(&plan.connections, &CONNECTIONS)
        .into_iter()
        .map(|connections| (connections, 1))
        .collect();
    // Many streams of one connection: how gRPC's clients come.
    if plan.connections.is_empty() && matches!(protocol, Protocol::Http2 | Protocol::Grpc) {
        shapes.push((1, STREAMS));
    }
    let mut cases = Vec::new();
    for &distance in &distances {
        for &(connections, streams) in &shapes {
            cases.extend(sizes.iter().map(|&size| Case {
                protocol,
                distance,
                connections,
                streams,
                size,
            }));
        }
    }
    Ok(cases)
}

fn or_else(asked: &[u32], usual: &[u32]) -> Vec<u32> {
    if asked.is_empty() { usual } else { asked }.to_vec()
}

/// The cases that have targets.
fn quick() -> Vec<Job> {
    use Distance::{BetweenNodes, SameNode};
    use Peer::{Direct, Envoy, Nodemesh};
    let requests = |protocol, distance, connections| Work::Requests(case(protocol, distance, connections));
    let peers: [&[Peer]; 3] = [
        &[Nodemesh, Envoy],
        &[Direct, Nodemesh],
        &[Direct, Nodemesh, Envoy],
    ];
    let [beside_envoy, beside_direct, beside_both] = peers;
    let job = |work: Work, peers: &[Peer], rounds: u32, seconds: u32| Job {
        work,
        peers: peers.to_vec(),
        rounds,
        seconds,
    };
    vec![
        job(Work::Memory, beside_envoy, 1, 2),
        job(
            requests(Protocol::Http1, BetweenNodes, 32),
            beside_both,
            ROUNDS,
            1,
        ),
        job(requests(Protocol::Http1, BetweenNodes, 1), beside_both, ROUNDS, 1),
        job(
            requests(Protocol::Http2, BetweenNodes, 32),
            beside_envoy,
            FEW_ROUNDS,
            1,
        ),
        job(
            requests(Protocol::Grpc, BetweenNodes, 32),
            beside_envoy,
            FEW_ROUNDS,
            1,
        ),
        job(
            requests(Protocol::Http1, SameNode, 32),
            beside_both,
            FEW_ROUNDS,
            1,
        ),
        job(requests(Protocol::L4, SameNode, 32), beside_direct, FEW_ROUNDS, 1),
        job(Work::Bulk(SameNode, 1, true), beside_direct, FEW_ROUNDS, 1),
        job(Work::Bulk(BetweenNodes, 1, true), beside_envoy, FEW_ROUNDS, 1),
        job(Work::Bulk(BetweenNodes, 8, true), beside_envoy, FEW_ROUNDS, 1),
        job(Work::Handshakes, beside_envoy, FEW_ROUNDS, 1),
        job(Work::Routes, &[Nodemesh], ROUNDS, 1),
        job(Work::OpenLoop, beside_envoy, FEW_ROUNDS, 3),
    ]
}

/// One turn of each kind of load that needs nothing but what a distribution and PyPI have.
fn smoke() -> Vec<Job> {
    use Distance::{BetweenNodes, SameNode};
    let works = [
        Work::Requests(case(Protocol::Http1, BetweenNodes, 8)),
        Work::Requests(case(Protocol::Grpc, BetweenNodes, 1)),
        Work::Bulk(SameNode, 1, true),
        Work::Handshakes,
    ];
    let jobs = works.map(|work| Job {
        peers: peers_of(&work),
        work,
        rounds: 1,
        seconds: 1,
    });
    jobs.into()
}

fn case(protocol: Protocol, distance: Distance, connections: u32) -> Case {
    Case {
        protocol,
        distance,
        connections,
        streams: 1,
        size: Size::One,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_every_case_at_every_place_with_every_number_and_size() {
        let jobs = jobs(&Plan::default()).unwrap();
        let requests = |streams: u32| {
            let is_it = |job: &&Job| matches!(job.work, Work::Requests(case) if case.streams == streams);
            jobs.iter().filter(is_it).count()
        };
        assert_eq!(requests(1), 4 * 2 * 3 * 3);
        assert_eq!(requests(STREAMS), 2 * 2 * 3);
        let bulk = jobs
            .iter()
            .filter(|job| matches!(job.work, Work::Bulk(..)))
            .count();
        assert_eq!(bulk, 2 * 2 * 2);
        assert!(jobs.iter().all(|job| job.rounds >= 5));
    }

    #[test]
    fn what_was_asked_for_is_all_there_is() {
        let plan = Plan::parse(
            r#"{"cases":["l7-http1"],"places":["between-nodes"],"connections":[32],"sizes":["1KiB"],
                "peers":["nodemesh","envoy"],"rounds":7,"seconds":3}"#,
        );
        let jobs = jobs(&plan.unwrap()).unwrap();
        let [job] = &jobs[..] else { panic!("{jobs:?}") };
        assert_eq!(
            job.work,
            Work::Requests(case(Protocol::Http1, Distance::BetweenNodes, 32))
        );
        assert_eq!((job.rounds, job.seconds, job.turns()), (7, 3, 14));
    }

    #[test]
    fn a_quick_run_takes_less_than_three_minutes() {
        let plan = Plan {
            quick: true,
            ..Plan::default()
        };
        let jobs = jobs(&plan).unwrap();
        // A turn's program takes a little to start and to end; memory has stages of its own.
        let turns: f64 = jobs
            .iter()
            .filter(|job| job.work != Work::Memory)
            .map(|job| f64::from(job.turns()) * (f64::from(job.seconds) + 0.4))
            .sum();
        assert!(turns < 150.0, "{turns} s");
    }
}
