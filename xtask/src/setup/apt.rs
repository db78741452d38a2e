//! Installing packages on Debian and Ubuntu, without the services that some of them would start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::need::Need;
use crate::command;

/// Downloads included.
const DEADLINE: Duration = Duration::from_mins(20);
/// Asked by every package before it starts a service (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Refuses every service. The second line tells our file from an administrator's.
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by cargo xtask setup for the time of an install.\nexit 101\n";

/// Keeps services from starting while it exists.
struct NoServices {
    ours: bool,
}

pub(super) fn is_here() -> bool {
    command::find("apt-get").is_some()
}

/// Installs what each need asks for.
pub(super) fn install(needs: &[Need]) -> Result<()> {
    command::step("apt-get update", || command::run(apt().arg("update"), DEADLINE))?;
    let mut packages: Vec<&str> = Vec::new();
    let mut nowhere = Vec::new();
    for need in needs {
        match need
            .packages
            .iter()
            .find(|set| set.iter().all(|package| is_known(package)))
        {
            Some(set) => packages.extend(set.iter().map(String::as_str)),
            None => nowhere.push(need.clone()),
        }
    }
    ensure!(
        nowhere.is_empty(),
        "this distribution does not have all of it; {}",
        super::advice(&nowhere)
    );
    let _no_services = NoServices::begin()?;
    let mut apt = apt();
    apt.args(["install", "--yes", "--no-install-recommends"])
        .args(&packages);
    command::step(&format!("apt-get install {}", packages.join(" ")), || {
        command::run(&mut apt, DEADLINE)
    })
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet=2", "--option=Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Whether there is a version to install. apt-cache show also succeeds for purely virtual packages.
fn is_known(package: &str) -> bool {
    command::output(Command::new("apt-cache").args(["policy", package]))
        .is_some_and(|policy| policy.contains("Candidate: ") && !policy.contains("Candidate: (none)"))
}

impl NoServices {
    fn begin() -> Result<Self> {
        let path = Path::new(POLICY);
        // One of ours is the rest of an install that was killed.
        let ours = !path.exists() || fs::read_to_string(path).is_ok_and(|text| text == POLICY_TEXT);
        if ours {
            fs::write(path, POLICY_TEXT).with_context(|| format!("cannot write {POLICY}"))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("cannot remove {POLICY}: {error}; remove it, or no service will start at install");
        }
    }
}
