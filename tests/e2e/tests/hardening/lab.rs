//! Two nodes: a client on one, and on the other a server that notes what it gets.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_e2e::turns::Report;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::node::NodeSettings;
use mesh_harness::{Mesh, Process, Workload};
use serde::Deserialize;

use crate::table::repeated;

/// The Service's port whose endpoints speak HTTP/1.
pub(crate) const HTTP1: u16 = 80;
/// The Service's port whose endpoints speak HTTP/2.
pub(crate) const HTTP2: u16 = 82;
/// The Service's address.
pub(crate) const ADDRESS: &str = "10.96.0.1";
/// Debian's own interpreter, which sees the packages that apt installs.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
const RECORDER: &str = include_str!("recorder.py");
const RECORDER_PORTS: [u16; 2] = [8080, 8082];
/// For requests to reach the backend that should not.
const SETTLING: Duration = Duration::from_millis(30);

/// The lab.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) mesh: Mesh,
    pub(crate) client: Workload,
    pub(crate) folder: PathBuf,
    log: PathBuf,
    server: Process,
}

/// A request as the server got it.
#[derive(Debug, Deserialize)]
pub(crate) struct Got {
    pub(crate) at: f64,
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: String,
    /// Whether it came to its end.
    pub(crate) whole: bool,
    /// What another reader could take differently.
    pub(crate) odd: Option<String>,
}

/// What the server is to get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) seen: &'a [String],
    pub(crate) bodies: &'a [String],
    pub(crate) has: &'a [String],
    pub(crate) lacks: &'a [String],
    /// Whether it may also get the beginning of a request.
    pub(crate) broken: bool,
}

impl Lab {
    pub(crate) fn open() -> Result<Self> {
        let settings = NodeSettings::default();
        let mut mesh = Mesh::builder()
            .node_settings(settings)
            .node("node-a")
            .node("node-b")
            .prepare()?;
        mesh.manifests.namespace("lab", true)?;
        mesh.start_nodes()?;
        let client = mesh.add_pod("node-a", "client")?;
        let web = mesh.add_pod("node-b", "web")?;
        let folder = mesh.topology.folder().to_owned();
        let (script, log) = (folder.join("recorder.py"), folder.join("recorder.log"));
        fs::write(&script, RECORDER)?;
        fs::write(&log, "")?;
        let program = web
            .place
            .program_at("recorder", PYTHON.as_ref())
            .arg(&script)
            .arg(&log);
        let server = program
            .args(RECORDER_PORTS.map(|port| port.to_string()))
            .spawn()?;
        for port in RECORDER_PORTS {
            web.place
                .wait_listening(port, LONG)
                .with_context(|| server.log_tail())?;
        }
        mesh.enrol("lab", "node-a", &client, |workload| workload)?;
        mesh.enrol("lab", "node-b", &web, |workload| {
            workload
                .port("one", RECORDER_PORTS[0])
                .port("two", RECORDER_PORTS[1])
        })?;
        let service = ServiceManifest::new("lab", "web")
            .address(ADDRESS)
            .named_port("one", HTTP1, RECORDER_PORTS[0], Some("http"))
            .named_port("two", HTTP2, RECORDER_PORTS[1], Some("kubernetes.io/h2c"));
        mesh.manifests.service(&service)?;
        for node in &mesh.nodes {
            node.wait_service("lab/web", 1)?;
        }
        Ok(Self {
            mesh,
            client,
            folder,
            log,
            server,
        })
    }

    /// Every request so far, the probes of the tests apart.
    pub(crate) fn got(&self) -> Result<Vec<Got>> {
        let text = fs::read_to_string(&self.log)?;
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let all: Result<Vec<Got>, _> = lines.map(serde_json::from_str).collect();
        Ok(all?
            .into_iter()
            .filter(|got| !got.line.starts_with("GET /probe "))
            .collect())
    }

    /// Waits until the client's node has told of a refusal with this cause.
    pub(crate) fn wait_refusal(&self, cause: &str) -> Result<()> {
        let cause = format!("{cause}: ");
        self.mesh.nodes[0].wait_log(0, &["DPE", &cause], MOMENT).map(drop)
    }

    /// The requests behind the first `before` ones, once `count` whole ones are there and no others follow.
    pub(crate) fn got_since(&self, before: usize, count: usize) -> Result<Vec<Got>> {
        let end = Instant::now() + MOMENT;
        thread::sleep(SETTLING);
        loop {
            let got = self.got()?.split_off(before);
            if got.iter().filter(|got| got.whole).count() >= count || Instant::now() > end {
                return Ok(got);
            }
            thread::sleep(SETTLING);
        }
    }
}

impl Wanted<'_> {
    /// Whether that is what the server got.
    pub(crate) fn check(&self, got: &[Got]) -> Result<()> {
        for got in got {
            ensure!(got.odd.is_none(), "the server got {got:?}");
            ensure!(got.whole || self.broken, "the server got a part: {got:?}");
        }
        let whole: Vec<&Got> = got.iter().filter(|got| got.whole).collect();
        let lines: Vec<&String> = whole.iter().map(|got| &got.line).collect();
        ensure!(
            lines == self.seen.iter().collect::<Vec<_>>(),
            "the server got {lines:?}"
        );
        for (index, got) in whole.iter().enumerate() {
            let body = self
                .bodies
                .get(index)
                .map(|body| repeated(body))
                .unwrap_or_default();
            ensure!(
                got.content == body,
                "the server got the content {:?}",
                got.content
            );
        }
        let Some(first) = whole.first() else {
            return Ok(());
        };
        for field in self.has {
            let (name, value) = field.split_once(": ").context("name: value")?;
            let is_there = first.fields.iter().any(|(of, is)| of == name && is == value);
            ensure!(is_there, "no {field:?} among {:?}", first.fields);
        }
        for name in self.lacks {
            let is_there = first.fields.iter().any(|(of, _)| of == name);
            ensure!(!is_there, "{name:?} is among {:?}", first.fields);
        }
        Ok(())
    }
}

impl Report for Lab {
    fn report(&self) -> String {
        format!("{}\n{}", self.mesh.logs(), self.server.log_tail())
    }
}
