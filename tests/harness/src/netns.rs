//! Named network namespaces, as ip-netns(8) keeps them in /run/netns.
//!
//! `ip netns exec` is not used: it mounts a fresh /sys, which hides cgroups and pinned programs.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

/// Where ip-netns(8) keeps the names.
pub const FOLDER: &str = "/run/netns";

/// One named network namespace. It does not remove itself: the ownership's guard does.
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace, with its loopback interface up.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let netns = Self {
            name: name.to_owned(),
        };
        netns.configure("link set lo up\n")?;
        Ok(netns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(&self.name)
    }

    /// The file, opened, as setns(2) takes it.
    pub fn open(&self) -> Result<File> {
        let path = self.path();
        File::open(&path).with_context(|| format!("open the network namespace {}", path.display()))
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets that it makes belong to the namespace and
    /// stay usable outside. The thread keeps the cgroup of this process, so nothing here is captured.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || -> Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET).context("enter a network namespace (needs root)")?;
                Ok(work())
            });
            thread
                .join()
                .map_err(|_| anyhow!("the work inside the namespace {} panicked", self.name))?
        })
    }

    /// Runs a batch of ip(8) commands inside the namespace, one a line without the leading `ip`.
    pub fn configure(&self, batch: &str) -> Result<()> {
        self.enter(|| {
            let mut child = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("run ip (package iproute2)")?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(batch.as_bytes()).context("hand commands to ip")?;
            }
            let output = child.wait_with_output().context("wait for ip")?;
            if !output.status.success() {
                bail!(
                    "ip in {}: {}\n{batch}",
                    self.name,
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            Ok(())
        })?
    }

    /// Sets a kernel parameter of the namespace, by its path below /proc/sys/net.
    pub fn set_parameter(&self, path: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/net/{path}");
        self.enter(|| std::fs::write(&file, value).with_context(|| format!("write {value} to {file}")))?
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("run ip (package iproute2)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
