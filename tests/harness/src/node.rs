//! A node's process: mesh-node in its node's namespace and cgroup.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::control::Control;
use crate::topology::{Node, Workload};
use crate::{Finished, Metrics, Process, http, wait};

/// Loading the kernel programs takes a fraction of a second; loaded machines get the rest.
const START: Duration = Duration::from_secs(30);
/// A little more than the longest drain that a test configures.
const STOP: Duration = Duration::from_secs(30);
/// A manifest is noticed, pushed, and its workload's listeners opened.
const ENROLMENT: Duration = Duration::from_secs(20);
/// Where the process answers (ARCHITECTURE.md: ports).
const ADMIN_PORT: u16 = 15000;
const METRICS_PORT: u16 = 15020;
const READINESS_PORT: u16 = 15021;

/// What differs between one node's configuration and another's.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Destination ports that are left alone.
    pub exclude_ports: Vec<u16>,
    /// Destination networks that are left alone.
    pub exclude_cidrs: Vec<String>,
    /// `passthrough` or `refuse`.
    pub unknown: String,
    /// `release` or `keep`.
    pub on_stop: String,
    /// Whether connections within the node may go past the proxy.
    pub direct_connections: bool,
    /// How long open connections are given at a stop, such as `10s`.
    pub drain_deadline: String,
    /// The log's filter.
    pub log_filter: String,
    /// Which connections are written: `all`, `failures` or `off`.
    pub access_log: String,
    /// Which requests are written: `all`, `failures` or `off`.
    pub request_log: String,
    /// How long series of what is gone stay, such as `10m`.
    pub series_retention: String,
}

/// A node with its proxy.
#[derive(Debug)]
pub struct NodeProxy {
    process: Option<Process>,
    /// The node.
    pub node: Node,
    config: PathBuf,
    pins: PathBuf,
    logs: PathBuf,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            exclude_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
            unknown: "passthrough".to_owned(),
            on_stop: "release".to_owned(),
            direct_connections: true,
            drain_deadline: "2s".to_owned(),
            log_filter: "info".to_owned(),
            access_log: "all".to_owned(),
            request_log: "failures".to_owned(),
            series_retention: "10m".to_owned(),
        }
    }
}

impl NodeProxy {
    /// Writes its configuration, root certificates and token; starts nothing.
    pub fn configure(
        node: &Node,
        folder: &Path,
        pins: &Path,
        control: &Control,
        settings: &NodeSettings,
    ) -> Result<Self> {
        let home = folder.join(&node.name);
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let config = home.join("node.toml");
        for (file, content) in [
            ("roots.pem", control.root_certificates()?),
            ("token", control.create_token(&node.name)?),
            (
                "node.toml",
                settings.toml(&node.name, &home, pins, control.address())?,
            ),
        ] {
            let path = home.join(file);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        let logs = folder.join("logs");
        Ok(Self {
            process: None,
            node: node.clone(),
            config,
            pins: pins.to_owned(),
            logs,
        })
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts it and does not wait.
    pub fn launch(&mut self) -> Result<()> {
        let program = self.node.proxy.our_program("mesh-node")?;
        self.process = Some(program.arg("--config").arg(&self.config).spawn()?);
        Ok(())
    }

    /// Waits until readiness says so.
    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("mesh-node of {} to be ready", self.node.name);
        let ready = wait::until(&what, START, || {
            if !self.process()?.is_running() {
                bail!("it ended");
            }
            Ok(self.is_ready().then_some(()))
        });
        ready.with_context(|| format!("the last of its log:\n{}", self.log_tail()))
    }

    /// Whether readiness says so.
    pub fn is_ready(&self) -> bool {
        self.get(READINESS_PORT, "/healthz/ready")
            .is_ok_and(|response| response.status == 200)
    }

    /// Stops it with SIGTERM.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.stop(STOP)?;
        if !status.success() {
            bail!(
                "mesh-node stopped with {status}; the last of its log:\n{}",
                process.log_tail()
            );
        }
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// The process, while one runs.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .with_context(|| format!("mesh-node of {} is not running", self.node.name))
    }

    /// Whether a process was started and not stopped.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Runs mesh-node with other arguments on this node's configuration, such as `["--check"]`.
    pub fn command(&self, arguments: &[&str], deadline: Duration) -> Result<Finished> {
        let program = self.node.proxy.our_program("mesh-node")?;
        program
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .run(deadline)
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its join token.
    pub fn token(&self) -> Result<String> {
        let path = self.config.with_file_name("token");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Where its links and maps are pinned.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// What an admin endpoint answers, such as `/connections`.
    pub fn admin(&self, path: &str) -> Result<Value> {
        let response = self.get(ADMIN_PORT, path)?;
        if response.status != 200 {
            bail!(
                "GET {path} at {}: {} {}",
                self.node.name,
                response.status,
                response.body
            );
        }
        serde_json::from_str(&response.body).with_context(|| format!("GET {path} at {}", self.node.name))
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get(METRICS_PORT, "/metrics")?.body))
    }

    /// Waits until a workload (`namespace/name`) of this node is captured.
    pub fn wait_captured(&self, workload: &str) -> Result<()> {
        self.wait_capture(workload, true)
    }

    /// Waits until a workload is no longer captured.
    pub fn wait_released(&self, workload: &str) -> Result<()> {
        self.wait_capture(workload, false)
    }

    fn wait_capture(&self, workload: &str, wanted: bool) -> Result<()> {
        let what = format!(
            "{workload} to be {}",
            if wanted { "captured" } else { "released" }
        );
        let mut last = Value::Null;
        wait::until(&what, ENROLMENT, || {
            let workloads = self.admin("/workloads")?;
            let entry = workloads
                .as_array()
                .and_then(|all| all.iter().find(|one| one["name"] == workload));
            last = entry.cloned().unwrap_or_default();
            Ok((last["local"]["is_captured"].as_bool().unwrap_or(false) == wanted).then_some(()))
        })
        .with_context(|| {
            format!(
                "/workloads says {last}; the last of the log:\n{}",
                self.log_tail()
            )
        })
    }

    /// Waits until this node knows a Service (`namespace/name`) with so many workloads behind it that are ready. A
    /// workload may have an address of each family.
    pub fn wait_service(&self, service: &str, workloads: usize) -> Result<()> {
        let what = format!(
            "{service} to have {workloads} ready workloads at {}",
            self.node.name
        );
        let mut last = Value::Null;
        wait::until(&what, ENROLMENT, || {
            let services = self.admin("/services")?;
            let entry = services
                .as_array()
                .and_then(|all| all.iter().find(|one| one["name"] == service));
            last = entry.cloned().unwrap_or_default();
            let Some(endpoints) = last["endpoints"].as_array() else {
                return Ok(None);
            };
            let ready = endpoints.iter().filter(|one| one["is_ready"] == true);
            let ready: BTreeSet<&str> = ready.filter_map(|one| one["workload"].as_str()).collect();
            Ok((ready.len() == workloads).then_some(()))
        })
        .with_context(|| format!("/services says {last}; the last of the log:\n{}", self.log_tail()))
    }

    /// Its log so far, of every process that this node had.
    pub fn log(&self) -> String {
        let path = self.logs.join(format!("{}-mesh-node.log", self.node.name));
        fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.log(), 40)
    }

    /// Waits until a line after the first `from` bytes of the log has every one of `parts`; gives the line. Quotes
    /// are left out of the comparison: whether a value has them depends on its type.
    pub fn wait_log(&self, from: usize, parts: &[&str], deadline: Duration) -> Result<String> {
        let what = format!("a line with {parts:?} in the log of {}", self.node.name);
        wait::until(&what, deadline, || Ok(self.find_log(from, parts)))
            .with_context(|| format!("the last of the log:\n{}", self.log_tail()))
    }

    /// As [`Self::wait_log`], without waiting.
    pub fn find_log(&self, from: usize, parts: &[&str]) -> Option<String> {
        let log = self.log().get(from..).unwrap_or_default().replace('"', "");
        log.lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
    }

    /// Whether a workload of the topology runs on this node's cgroups.
    pub fn hosts(&self, workload: &Workload) -> bool {
        workload.place.cgroup().parent() == self.node.proxy.cgroup().parent()
    }

    fn get(&self, port: u16, path: &str) -> Result<http::Response> {
        http::get(
            self.node.proxy.netns(),
            SocketAddr::from(([127, 0, 0, 1], port)),
            path,
        )
    }
}

impl NodeSettings {
    fn toml(&self, name: &str, home: &Path, pins: &Path, control: SocketAddr) -> Result<String> {
        let (home, pins) = (home.display(), pins.display());
        let mut text = format!(
            "[node]\nname = \"{name}\"\nstate-directory = \"{home}/state\"\nruntime-directory = \"{home}/run\"\n\n\
             [control]\naddress = \"{control}\"\nserver-name = \"mesh-control\"\n\
             root-certificates = \"{home}/roots.pem\"\ntoken-file = \"{home}/token\"\n\n"
        );
        writeln!(
            text,
            "[capture]\npin-directory = \"{pins}\"\non-stop = \"{}\"\ndirect-connections = {}",
            self.on_stop, self.direct_connections
        )?;
        writeln!(
            text,
            "exclude-ports = {:?}\nexclude-cidrs = {:?}\n",
            self.exclude_ports, self.exclude_cidrs
        )?;
        writeln!(text, "[outbound]\nunknown = \"{}\"\n", self.unknown)?;
        writeln!(text, "[drain]\ndeadline = \"{}\"\n", self.drain_deadline)?;
        writeln!(
            text,
            "[log]\nfilter = \"{}\"\nformat = \"text\"\n",
            self.log_filter
        )?;
        writeln!(
            text,
            "[metrics]\nseries-retention = \"{}\"\n",
            self.series_retention
        )?;
        writeln!(
            text,
            "[access-log]\nconnections = \"{}\"\nrequests = \"{}\"",
            self.access_log, self.request_log
        )?;
        Ok(text)
    }
}
