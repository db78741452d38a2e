//! A process that owns capture, to be killed: `mesh-vm-smoke owner <request>`.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mesh_node::capture::{Capture, Enrolment, KernelLog, OnStop, Ports, Settings};
use serde::{Deserialize, Serialize};

use crate::proxy::{Listeners, Pair};

/// What the owner says once it captures.
const READY: &str = "ready";
/// An owner that nobody killed ends by itself.
const LIFETIME: Duration = Duration::from_mins(2);

/// What to own: a workload on the host's network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Folder for pins.
    pub pins: PathBuf,
    /// The proxy's cgroup.
    pub proxy_cgroup: PathBuf,
    /// The workload's cgroup.
    pub workload: PathBuf,
    /// The workload's slot.
    pub slot: u32,
    /// Cookie of the namespace.
    pub cookie: u64,
    /// Port to listen on.
    pub port: u16,
}

/// A started owner, killed when dropped.
#[derive(Debug)]
pub struct Owner(Child);

impl Request {
    /// Starts an owner and waits until it captures.
    pub fn start(&self, program: &Path) -> Result<Owner> {
        let request = serde_json::to_string(self)?;
        let mut child = Command::new(program)
            .args(["owner", &request])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the owner has no output")?;
        let owner = Owner(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == READY, "the owner said {line:?}");
        Ok(owner)
    }

    /// The owner's side: captures and answers until it is killed.
    pub fn perform(&self) -> Result<()> {
        let pair = Pair::loopback_on(self.port)?;
        let capture = Arc::new(Capture::start(&Settings {
            node: "owner".to_owned(),
            pin_directory: self.pins.clone(),
            exclude_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
            kernel_log: KernelLog::Off,
            proxy_cgroup: Some(self.proxy_cgroup.clone()),
            on_stop: OnStop::Keep,
            ports: Ports {
                outbound: self.port,
                inbound: 15006,
                hbone: 15008,
            },
        })?);
        capture.enrol(&Enrolment {
            slot: self.slot,
            cgroup: self.workload.clone(),
            netns_cookie: self.cookie,
            v4: Ipv4Addr::LOCALHOST,
            v6: Ipv6Addr::LOCALHOST,
        })?;
        let mut listeners = Listeners::default();
        listeners.proxy(pair, &capture, self.cookie);
        println!("{READY}");
        thread::sleep(LIFETIME);
        Ok(())
    }
}

impl Owner {
    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may be dead already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
