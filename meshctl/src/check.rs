//! Whether this machine is fit to be a node. Each finding says what was found and what to do about it.
//!
//! Owns the order and the rendering; the checks of each subject are in the files below. They read the kernel's own
//! files and change nothing but for binding each port for a moment.

mod filesystem;
mod kernel;
mod ports;
mod process;

use std::fs;

use serde::Serialize;

use crate::cli::Output;
use crate::mountinfo;
use crate::table::{Column, Table};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// The node works, with less than it could.
    Warn,
    /// The node does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) level: Level,
    /// What was found.
    pub(crate) found: String,
    /// What to do, where there is something to do.
    pub(crate) advice: Option<String>,
}

/// All findings.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    is_fit: bool,
    findings: Vec<Finding>,
}

/// Looks at this machine, as the user that runs meshctl.
pub(crate) fn check_machine() -> Report {
    let mounts = mountinfo::parse(&read("/proc/self/mountinfo"));
    let status = read("/proc/self/status");
    let capabilities = process::Capabilities::parse(&status);
    let mut findings = vec![kernel::release(&read("/proc/sys/kernel/osrelease"))];
    findings.extend(kernel::configuration());
    findings.extend([
        kernel::btf(),
        kernel::jit(
            fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
                .ok()
                .as_deref(),
        ),
        filesystem::cgroup2(&mounts),
        filesystem::bpffs(&mounts, &read("/proc/filesystems"), capabilities),
        process::user(&status),
        process::capabilities(capabilities),
        process::open_files(),
        ports::ipv6(),
    ]);
    findings.extend(ports::all());
    Report::new(findings)
}

/// The text of a file of the kernel's; empty when it cannot be read, which each check takes as "not there".
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

// === impl Finding ===

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(check, found, advice)
        }
    }
}

// === impl Report ===

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let is_fit = findings.iter().all(|finding| finding.level != Level::Fail);
        Self { is_fit, findings }
    }

    /// Whether nothing failed.
    pub(crate) fn is_fit(&self) -> bool {
        self.is_fit
    }

    pub(crate) fn render(&self, output: Output) -> serde_json::Result<String> {
        if output == Output::Json {
            return serde_json::to_string_pretty(self).map(|text| text + "\n");
        }
        let mut table = Table::new([
            Column::Left("LEVEL"),
            Column::Left("CHECK"),
            Column::Left("FOUND"),
            Column::Left("WHAT TO DO"),
        ]);
        for finding in &self.findings {
            table.push([
                format!("{:?}", finding.level).to_lowercase(),
                finding.check.to_owned(),
                finding.found.clone(),
                finding.advice.clone().unwrap_or_default(),
            ]);
        }
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let verdict = if self.is_fit {
            "This machine is fit to be a node"
        } else {
            "This machine is not fit to be a node"
        };
        let counts = format!("{} failed, {} warned", count(Level::Fail), count(Level::Warn));
        Ok(format!(
            "{}\n{verdict}: {counts}.\n",
            table.render("Nothing was checked.")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_makes_the_machine_unfit() {
        let fine = vec![
            Finding::ok("a", "good"),
            Finding::warn("b", "so so", "look at it"),
        ];
        assert!(Report::new(fine.clone()).is_fit());
        let mut bad = fine;
        bad.push(Finding::fail("c", "bad", "mend it"));
        let report = Report::new(bad);
        assert!(!report.is_fit());
        let text = report.render(Output::Table).expect("text");
        assert!(text.contains("fail    c       bad     mend it"), "{text}");
        assert!(
            text.ends_with("This machine is not fit to be a node: 1 failed, 1 warned.\n"),
            "{text}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&report.render(Output::Json).expect("text")).expect("JSON");
        assert_eq!(json["is_fit"], false);
        assert_eq!(json["findings"][2]["level"], "fail");
        assert_eq!(json["findings"][0]["advice"], serde_json::Value::Null);
    }

    #[test]
    fn advises_wherever_something_is_not_as_it_should_be() {
        let report = check_machine();
        assert!(report.findings.len() >= 14, "{report:?}");
        for finding in report.findings {
            assert!(!finding.found.is_empty(), "{finding:?}");
            assert_eq!(
                finding.advice.is_none(),
                finding.level == Level::Ok,
                "{finding:?}"
            );
        }
    }
}
