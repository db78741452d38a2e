//! The surroundings of one check: cgroups and a folder of pins that nothing else uses, removed afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result};
use mesh_node::capture::{Capture, Enrolment, Hierarchy, KernelLog, OnStop, Ports, Settings};

use crate::{
    client::{Attempt, Request, join},
    namespace::{Namespace, own_cookie},
};

/// Where the checks pin.
const PINS: &str = "/sys/fs/bpf";

/// One check's surroundings.
#[derive(Debug)]
pub struct Stage {
    /// This program, to be started as client or owner.
    pub program: PathBuf,
    /// Top of the stage's cgroups.
    pub top: PathBuf,
    /// Folder for pins.
    pub pins: PathBuf,
    /// Where this process was before.
    came_from: PathBuf,
}

impl Stage {
    /// Makes the cgroups `proxy`, `workload`, `workload/child` and `other`.
    pub fn new(program: &Path) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let hierarchy = Hierarchy::find()?.context("cgroup2 is not mounted")?;
        let came_from = hierarchy.own()?;
        let name = format!(
            "nodemesh-smoke-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let top = hierarchy.mount.join(&name);
        let stage = Self {
            program: program.to_path_buf(),
            top,
            pins: Path::new(PINS).join(&name),
            came_from,
        };
        for cgroup in ["proxy", "workload/child", "other"] {
            let path = stage.top.join(cgroup);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        Ok(stage)
    }

    /// Directory of one of the cgroups.
    pub fn cgroup(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// Settings with this outbound port, in the `proxy` cgroup.
    pub fn settings(&self, outbound: u16) -> Settings {
        Settings {
            node: "smoke".to_owned(),
            pin_directory: self.pins.clone(),
            exclude_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
            kernel_log: KernelLog::Off,
            proxy_cgroup: Some(self.cgroup("proxy")),
            on_stop: OnStop::Release,
            ports: Ports {
                outbound,
                inbound: 15006,
                hbone: 15008,
            },
        }
    }

    /// The `workload` cgroup as a workload on the host's network, in slot 7.
    pub fn host_workload(&self) -> Result<Enrolment> {
        Ok(Enrolment {
            slot: 7,
            cgroup: self.cgroup("workload"),
            netns_cookie: own_cookie()?,
            v4: std::net::Ipv4Addr::LOCALHOST,
            v6: std::net::Ipv6Addr::LOCALHOST,
        })
    }

    /// Runs a client.
    pub fn client(&self, request: &Request, namespace: Option<&Namespace>) -> Result<Vec<Attempt>> {
        request.run(&self.program, namespace)
    }

    /// What is left in the folder of pins.
    pub fn pinned(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.pins.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.push(path);
            }
        }
        found
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed here shows in the check that looks for leftovers.
        join(&self.came_from).ok();
        fs::remove_dir_all(&self.pins).ok();
        for name in ["workload/child", "workload", "proxy", "other", ""] {
            fs::remove_dir(self.top.join(name)).ok();
        }
    }
}

/// Stops a capture that its listeners have let go of.
pub fn stop(capture: Arc<Capture>) -> Result<()> {
    let capture = Arc::into_inner(capture).context("somebody still uses capture")?;
    Ok(capture.stop()?)
}
