//! Which suites there are, and the commands that run each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{command, vm, workspace};

/// Compiling included. The slowest suite takes some minutes.
const DEADLINE: Duration = Duration::from_mins(30);
/// No test of theirs can run on the host: the kernel programs have a target of their own.
const NO_TESTS: &str = "mesh-ebpf";

/// A set of tests with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// All tests but those of the other suites; these packages' integration tests are the other suites.
    Unit { others: Vec<String> },
    /// The integration tests of this name, in these packages.
    EndToEnd { packages: Vec<String> },
    /// The kernel programs under every older kernel, in virtual machines.
    Kernels,
}

/// All suites: the quick one first, the slow one last.
pub(super) fn all() -> Result<Vec<Suite>> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut packages = Vec::new();
    for member in workspace::members()?
        .into_iter()
        .filter(|member| member.starts_with("tests"))
    {
        let folder = workspace::root().join(&member).join("tests");
        if !folder.is_dir() {
            continue;
        }
        let package = workspace::package_name(&member)?;
        for name in test_files(&folder)? {
            by_name.entry(name).or_default().push(package.clone());
        }
        packages.push(package);
    }
    let mut suites = vec![Suite::new("unit", Kind::Unit { others: packages })];
    suites.extend(
        by_name
            .into_iter()
            .map(|(name, packages)| Suite::new(name, Kind::EndToEnd { packages })),
    );
    suites.push(Suite::new("kernels", Kind::Kernels));
    Ok(suites)
}

/// The suites asked for, in the order of `all`; none asked for: all.
pub(super) fn choose(all: Vec<Suite>, asked: &[String]) -> Result<Vec<Suite>> {
    let is_suite = |name: &&String| all.iter().any(|suite| suite.name == **name);
    if let Some(unknown) = asked.iter().find(|name| !is_suite(name)) {
        let names: Vec<&str> = all.iter().map(|suite| suite.name.as_str()).collect();
        bail!("there is no suite {unknown}: choose of {}", names.join(", "));
    }
    Ok(all
        .into_iter()
        .filter(|suite| asked.is_empty() || asked.contains(&suite.name))
        .collect())
}

fn test_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}

impl Suite {
    fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
        }
    }

    /// Whether it needs root, the release binaries, and programs of others.
    pub(super) fn is_end_to_end(&self) -> bool {
        !matches!(self.kind, Kind::Unit { .. })
    }

    /// Runs it; `pass` goes to the test programs.
    pub(super) fn run(&self, pass: &[String]) -> Result<()> {
        match &self.kind {
            Kind::Unit { others } => {
                let rest = cargo_test(
                    ["--workspace", "--exclude", NO_TESTS],
                    "--exclude",
                    others,
                    &[],
                    pass,
                );
                // Of these only what lies beside the code.
                let beside = cargo_test([], "--package", others, &["--lib", "--bins"], pass);
                rest.and(beside)
            }
            // One at a time: each test has both cores and the memory it measures to itself.
            Kind::EndToEnd { packages } => {
                let mut pass = pass.to_vec();
                pass.push("--test-threads=1".to_owned());
                cargo_test([], "--package", packages, &["--test", &self.name], &pass)
            }
            Kind::Kernels => vm::run(&vm::Arguments::default()),
        }
    }
}

fn cargo_test<const N: usize>(
    first: [&str; N],
    flag: &str,
    packages: &[String],
    last: &[&str],
    pass: &[String],
) -> Result<()> {
    let mut cargo = command::cargo(["test", "--locked", "--no-fail-fast"]);
    cargo.args(first);
    for package in packages {
        cargo.args([flag, package]);
    }
    cargo.args(last).arg("--").args(pass);
    command::run(&mut cargo, DEADLINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Suite> {
        ["unit", "capture", "mtls"]
            .map(|name| Suite::new(name, Kind::EndToEnd { packages: Vec::new() }))
            .into()
    }

    fn names(suites: Result<Vec<Suite>>) -> Vec<String> {
        suites.unwrap().into_iter().map(|suite| suite.name).collect()
    }

    #[test]
    fn runs_all_suites_unless_some_are_named() {
        assert_eq!(names(choose(some(), &[])), ["unit", "capture", "mtls"]);
        assert_eq!(
            names(choose(some(), &["mtls".to_owned(), "unit".to_owned()])),
            ["unit", "mtls"]
        );
    }

    #[test]
    fn says_which_suites_there_are() {
        let error = choose(some(), &["tls".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no suite tls: choose of unit, capture, mtls");
    }

    #[test]
    fn finds_the_suites_of_this_workspace() {
        let all = all().unwrap();
        assert_eq!(all.first().map(|suite| suite.name.as_str()), Some("unit"));
        assert!(
            all.iter()
                .any(|suite| suite.name == "harness" && suite.is_end_to_end())
        );
    }
}
