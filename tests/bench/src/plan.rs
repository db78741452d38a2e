//! What was asked for: `cargo xtask bench` hands its options over as one JSON value.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The options, as they were typed. An empty list stands for all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Kinds of cases.
    pub cases: Vec<String>,
    /// Where client and server are to each other.
    pub places: Vec<String>,
    /// How many connections.
    pub connections: Vec<u32>,
    /// Sizes of answers.
    pub sizes: Vec<String>,
    /// Who is measured.
    pub peers: Vec<String>,
    /// How many rounds; none: as many as each case wants.
    pub rounds: Option<u32>,
    /// How long each turn takes; none: as long as each case wants.
    pub seconds: Option<u32>,
    /// Requests a second of the open loop; none: half of what Envoy can do.
    pub rate: Option<f64>,
    /// The cases of the targets alone.
    pub quick: bool,
    /// One case in rounds of a second: whether the bench works, not what it measures.
    pub smoke: bool,
    /// Where flame graphs go; none: no profile.
    pub profile: Option<PathBuf>,
    /// Where the plot goes.
    pub plot: Option<PathBuf>,
    /// What is printed.
    pub output: Output,
    /// The folder of binaries that were set aside; none: those of this source.
    pub binaries: Option<PathBuf>,
    /// Envoy's program.
    pub envoy: PathBuf,
    /// oha's program, where the open loop is wanted.
    pub oha: Option<PathBuf>,
    /// The folder of inferno's programs, where a profile is wanted.
    pub inferno: Option<PathBuf>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Tables for people.
    #[default]
    Table,
    /// Tables for a document.
    Markdown,
    /// Everything, raw rounds included.
    Json,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Client and server alone.
    Direct,
    /// The mesh.
    Nodemesh,
    /// A pair of Envoys, or one on the same node.
    Envoy,
}

/// Where client and server are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// On one node.
    SameNode,
    /// On two.
    BetweenNodes,
}

/// How large an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 0.1 KiB: 102 bytes.
    Tenth,
    /// 1 KiB.
    One,
    /// 64 KiB.
    SixtyFour,
}

/// What is spoken in the cases of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 that no proxy looks into.
    L4,
    /// HTTP/1.1 with routing.
    Http1,
    /// HTTP/2 with routing.
    Http2,
    /// gRPC, unary calls, with routing.
    Grpc,
}

/// A kind of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Requests and answers on connections that last.
    Requests(Protocol),
    /// As many bytes as will pass.
    Bulk,
    /// A connection for each request.
    NewConnections,
    /// Full TLS handshakes with a node.
    Handshakes,
    /// One rule against a thousand.
    Routes,
    /// Endpoints that come and go.
    Churn,
    /// Latency at a fixed rate.
    OpenLoop,
    /// Resident memory.
    Memory,
}

/// A thing with a name that can be asked for.
pub trait Named: Copy + PartialEq + 'static {
    /// What the option is for.
    const OPTION: &'static str;
    /// All of them.
    const ALL: &'static [Self];
    /// Its name.
    fn name(self) -> &'static str;
}

impl Named for Peer {
    const OPTION: &'static str = "--peers";
    const ALL: &'static [Self] = &[Self::Direct, Self::Nodemesh, Self::Envoy];
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nodemesh => "nodemesh",
            Self::Envoy => "envoy",
        }
    }
}

impl Named for Distance {
    const OPTION: &'static str = "--place";
    const ALL: &'static [Self] = &[Self::SameNode, Self::BetweenNodes];
    fn name(self) -> &'static str {
        match self {
            Self::SameNode => "same-node",
            Self::BetweenNodes => "between-nodes",
        }
    }
}

impl Named for Size {
    const OPTION: &'static str = "--size";
    const ALL: &'static [Self] = &[Self::Tenth, Self::One, Self::SixtyFour];
    fn name(self) -> &'static str {
        match self {
            Self::Tenth => "0.1KiB",
            Self::One => "1KiB",
            Self::SixtyFour => "64KiB",
        }
    }
}

impl Named for Topic {
    const OPTION: &'static str = "--case";
    const ALL: &'static [Self] = &[
        Self::Requests(Protocol::L4),
        Self::Requests(Protocol::Http1),
        Self::Requests(Protocol::Http2),
        Self::Requests(Protocol::Grpc),
        Self::Bulk,
        Self::NewConnections,
        Self::Handshakes,
        Self::Routes,
        Self::Churn,
        Self::OpenLoop,
        Self::Memory,
    ];
    fn name(self) -> &'static str {
        match self {
            Self::Requests(protocol) => protocol.name(),
            Self::Bulk => "bulk",
            Self::NewConnections => "new-connections",
            Self::Handshakes => "handshakes",
            Self::Routes => "routes",
            Self::Churn => "churn",
            Self::OpenLoop => "open-loop",
            Self::Memory => "memory",
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// As keys have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::L4 => "l4",
            Self::Http1 => "l7-http1",
            Self::Http2 => "l7-http2",
            Self::Grpc => "grpc",
        }
    }
}

// === impl Size ===

impl Size {
    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Tenth => 102,
            Self::One => 1024,
            Self::SixtyFour => 64 * 1024,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Reads the one argument.
    pub fn parse(text: &str) -> Result<Self> {
        let plan: Self = serde_json::from_str(text)
            .context("the plan is not what this program knows: call it by `cargo xtask bench`")?;
        ensure!(plan.rounds != Some(0), "--rounds 0 would measure nothing");
        ensure!(plan.seconds != Some(0), "--seconds 0 would measure nothing");
        ensure!(
            plan.rate.is_none_or(|rate| rate >= 1.0),
            "--rate is in requests a second"
        );
        ensure!(
            !plan.connections.contains(&0),
            "--connections 0 would measure nothing"
        );
        Ok(plan)
    }

    /// Who is measured.
    pub fn peers(&self) -> Result<Vec<Peer>> {
        chosen(&self.peers)
    }

    /// What is measured.
    pub fn topics(&self) -> Result<Vec<Topic>> {
        chosen(&self.cases)
    }

    /// Whether a peer is measured; wrong names are [`Self::peers`]' to report.
    pub fn has(&self, peer: Peer) -> bool {
        self.peers().is_ok_and(|peers| peers.contains(&peer))
    }
}

/// Those of all that were named, in the order of all; none named: all.
pub fn chosen<T: Named>(names: &[String]) -> Result<Vec<T>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| T::ALL.iter().all(|one| one.name() != *name))
    {
        let all: Vec<&str> = T::ALL.iter().map(|one| one.name()).collect();
        bail!("{} {unknown}: choose of {}", T::OPTION, all.join(", "));
    }
    let is_chosen = |one: &&T| names.is_empty() || names.iter().any(|name| name == one.name());
    Ok(T::ALL.iter().filter(is_chosen).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_and_unknown_ones_are_refused_with_the_known() {
        let chosen_names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen::<Peer>(&names)
        };
        assert_eq!(chosen_names(&[]).unwrap(), Peer::ALL);
        assert_eq!(
            chosen_names(&["envoy", "direct"]).unwrap(),
            [Peer::Direct, Peer::Envoy]
        );
        let error = chosen_names(&["nginx"]).unwrap_err().to_string();
        assert_eq!(error, "--peers nginx: choose of direct, nodemesh, envoy");
    }

    #[test]
    fn refuses_a_plan_that_measures_nothing_and_one_with_unknown_fields() {
        assert!(Plan::parse(r#"{"rounds":5,"seconds":null}"#).is_ok());
        for wrong in [
            r#"{"rounds":0,"seconds":3}"#,
            r#"{"rounds":5,"seconds":0}"#,
            r#"{"rounds":5,"seconds":1,"connections":[0]}"#,
            r#"{"rounds":5,"seconds":1,"round":1}"#,
            r#"{"rate":0}"#,
        ] {
            assert!(Plan::parse(wrong).is_err(), "{wrong}");
        }
    }
}
