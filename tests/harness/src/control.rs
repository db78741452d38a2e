//! The control plane's process: mesh-control on a host of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::topology::Workload;
use crate::{Finished, Manifests, Metrics, Process, http, wait};

/// Reading a folder and making a key take milliseconds; loaded machines get the rest.
const START: Duration = Duration::from_secs(20);
/// A normal stop only closes sessions.
const STOP: Duration = Duration::from_secs(15);
/// A command of mesh-control that works on files alone.
const COMMAND: Duration = Duration::from_secs(20);
/// Where it serves nodes (ARCHITECTURE.md: ports).
const PORT: u16 = 15010;
/// Where it serves metrics and readiness.
const ADMIN_PORT: u16 = 15012;

/// What differs between one control plane and another.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The trust domain of its identities.
    pub trust_domain: String,
    /// How long a workload's certificate is good for, such as `24h`.
    pub certificate_lifetime: String,
}

/// A control plane.
#[derive(Debug)]
pub struct Control {
    process: Option<Process>,
    host: Workload,
    config: PathBuf,
    folder: PathBuf,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".to_owned(),
            certificate_lifetime: "24h".to_owned(),
        }
    }
}

impl Control {
    /// Writes its configuration; starts nothing.
    pub fn configure(
        host: &Workload,
        folder: &Path,
        manifests: &Manifests,
        settings: &ControlSettings,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let config = folder.join("control.toml");
        let (home, source) = (folder.display(), manifests.folder().display());
        let ControlSettings {
            trust_domain,
            certificate_lifetime,
        } = settings;
        let text = format!(
            "[source]\nfolder = \"{source}\"\n\n\
             [server]\naddress = \"[::]:{PORT}\"\nserver-name = \"mesh-control\"\n\n\
             [ca]\ndirectory = \"{home}/ca\"\ntrust-domain = \"{trust_domain}\"\n\
             certificate-lifetime = \"{certificate_lifetime}\"\n\n\
             [tokens]\ndirectory = \"{home}/tokens\"\n\n\
             [admin]\naddress = \"[::]:{ADMIN_PORT}\"\n\n\
             [log]\nfilter = \"info\"\nformat = \"text\"\n"
        );
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        Ok(Self {
            process: None,
            host: host.clone(),
            config,
            folder: folder.to_owned(),
        })
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        let mut process = self
            .host
            .place
            .our_program("mesh-control")?
            .arg("--config")
            .arg(&self.config)
            .spawn()?;
        let ready = wait::until("mesh-control to be ready", START, || {
            if !process.is_running() {
                bail!("it ended");
            }
            Ok(self.is_ready().then_some(()))
        });
        ready.with_context(|| format!("the last of its log:\n{}", process.log_tail()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it with SIGTERM.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.stop(STOP)?;
        if !status.success() {
            bail!(
                "mesh-control stopped with {status}; the last of its log:\n{}",
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
        self.process.as_mut().context("mesh-control is not running")
    }

    /// Whether readiness says so.
    pub fn is_ready(&self) -> bool {
        self.get("/healthz/ready")
            .is_ok_and(|response| response.status == 200)
    }

    /// Where nodes reach it.
    pub fn address(&self) -> SocketAddr {
        (self.host.v4(), PORT).into()
    }

    /// Where it runs.
    pub fn host(&self) -> &Workload {
        &self.host
    }

    /// The CA's folder.
    pub fn ca_folder(&self) -> PathBuf {
        self.folder.join("ca")
    }

    /// Runs a command of mesh-control on its files, such as `["ca", "root"]`.
    pub fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let program = self.host.place.our_program("mesh-control")?;
        program
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .run(COMMAND)
    }

    /// A join token for a node.
    pub fn create_token(&self, node: &str) -> Result<String> {
        Ok(self
            .command(&["token", "create", "--node", node])?
            .success()?
            .text())
    }

    /// The trusted roots, as PEM.
    pub fn root_certificates(&self) -> Result<String> {
        Ok(self.command(&["ca", "root"])?.success()?.text())
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?.body))
    }

    /// What an admin endpoint answers, such as `/routes`.
    pub fn admin(&self, path: &str) -> Result<Value> {
        let response = self.get(path)?;
        if response.status != 200 {
            bail!(
                "GET {path} of mesh-control: {} {}",
                response.status,
                response.body
            );
        }
        serde_json::from_str(&response.body).with_context(|| format!("read the answer to GET {path}"))
    }

    /// Its log so far; also of ended processes.
    pub fn log(&self) -> String {
        let path = self
            .folder
            .join("../logs")
            .join(format!("{}-mesh-control.log", self.host.place.name()));
        fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn get(&self, path: &str) -> Result<http::Response> {
        let at = SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT));
        http::get(self.host.place.netns(), at, path)
    }
}
