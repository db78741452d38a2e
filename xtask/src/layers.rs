//! Who may import whom: reads layers.toml, and fails on an upward or sideways import.
//!
//! A text scan, not a compiler: it sees `crate::module` wherever it stands outside a comment, and `super::` where
//! that leads to the crate's root. It covers what people write, and says so where it cannot follow.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// The whole of layers.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Layers {
    /// By package name: the workspace's packages that it may depend on, tests apart.
    packages: BTreeMap<String, Package>,
    /// By folder of a crate: its modules.
    modules: BTreeMap<String, Modules>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Package {
    uses: Vec<String>,
    /// Packages from elsewhere that it must not depend on.
    #[serde(default)]
    never: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Modules {
    /// The lowest first. A module imports lower tiers only, and itself.
    tiers: Vec<Vec<String>>,
    /// By name of a crate from elsewhere: the modules that alone may name it.
    #[serde(default)]
    only: BTreeMap<String, Vec<String>>,
}

pub(crate) fn check() -> Result<()> {
    let path = workspace::root().join("layers.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let layers: Layers = toml::from_str(&text).context("layers.toml")?;

    let mut violations = packages(&layers.packages)?;
    for (folder, modules) in &layers.modules {
        let files = workspace::hand_written("rs")?;
        let source = Path::new(folder).join("src");
        for path in files.iter().filter(|path| path.starts_with(&source)) {
            let text = fs::read_to_string(workspace::root().join(path))?;
            let inside = path.strip_prefix(&source)?;
            let found = modules.violations(inside, &text);
            violations.extend(
                found
                    .into_iter()
                    .map(|violation| format!("{}: {violation}", path.display())),
            );
        }
    }
    ensure!(violations.is_empty(), "{}", violations.join("\n    "));
    Ok(())
}

fn packages(rules: &BTreeMap<String, Package>) -> Result<Vec<String>> {
    let mut manifests = BTreeMap::new();
    for member in workspace::members()? {
        manifests.insert(workspace::package_name(&member)?, workspace::manifest(&member)?);
    }
    let ours: BTreeSet<&String> = manifests.keys().collect();
    let mut violations = Vec::new();
    for (name, manifest) in &manifests {
        let Some(rule) = rules.get(name) else {
            violations.push(format!("layers.toml says nothing of the package {name}"));
            continue;
        };
        for used in dependencies(manifest) {
            let allowed = if ours.contains(&used) {
                rule.uses.contains(&used)
            } else {
                !rule.never.contains(&used)
            };
            if !allowed {
                violations.push(format!(
                    "{name} depends on {used}, which layers.toml does not allow"
                ));
            }
        }
    }
    Ok(violations)
}

fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let tables = ["dependencies", "build-dependencies"].map(|name| manifest.get(name));
    tables
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table)
        .flat_map(toml::Table::keys)
        .cloned()
        .collect()
}

impl Modules {
    /// What is wrong with the imports of a file of the crate; `inside` is its path below src.
    fn violations(&self, inside: &Path, text: &str) -> Vec<String> {
        let names: Vec<String> = inside
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let Some(module) = names.first() else {
            return Vec::new();
        };
        // The crate's root declares the modules and may name them all.
        if names.len() == 1 && (module == "lib" || module == "main") {
            return Vec::new();
        }
        let Some(tier) = self.tier(module) else {
            return vec![format!("the module {module} is in no tier of layers.toml")];
        };
        let mut violations = Vec::new();
        for import in imports::of_crate(text, names.len()) {
            if import.name == *module {
                continue;
            }
            let why = match self.tier(&import.name) {
                Some(imported) if imported < tier => continue,
                Some(imported) if imported == tier => "of the same tier",
                Some(_) => "of a higher tier",
                None => "which is no module with a tier",
            };
            violations.push(format!(
                "line {}: {module} imports {}, {why}",
                import.line, import.name
            ));
        }
        for (package, allowed) in &self.only {
            if let Some(line) = imports::line_naming(text, package).filter(|_| !allowed.contains(module)) {
                let allowed = allowed.join(", ");
                violations.push(format!(
                    "line {line}: {module} names {package}; only {allowed} may"
                ));
            }
        }
        violations
    }

    fn tier(&self, module: &str) -> Option<usize> {
        self.tiers
            .iter()
            .position(|tier| tier.iter().any(|name| name == module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        toml::from_str(
            r#"
            tiers = [["net", "outcome"], ["state"], ["flow"]]
            only = { aya = ["net"] }
            "#,
        )
        .unwrap()
    }

    fn violations(path: &str, text: &str) -> Vec<String> {
        modules().violations(Path::new(path), text)
    }

    #[test]
    fn allows_lower_tiers_and_the_module_itself() {
        let text = "use crate::{net::Peer, outcome};\nuse super::state::Store;\nuse super::net;\nuse crate::flow::x;\n";
        assert_eq!(violations("flow.rs", text), Vec::<String>::new());
        assert_eq!(
            violations("flow/relay.rs", "use super::live;\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn refuses_upward_and_sideways_imports() {
        assert_eq!(
            violations("state.rs", "\nuse crate::flow::Flow;"),
            ["line 2: state imports flow, of a higher tier"]
        );
        assert_eq!(
            violations("net/addr.rs", "use crate::outcome;"),
            ["line 1: net imports outcome, of the same tier"]
        );
        assert_eq!(violations("net/addr.rs", "use super::super::state;").len(), 1);
        assert_eq!(violations("state.rs", "fn f() { crate::flow::go() }").len(), 1);
    }

    #[test]
    fn wants_a_tier_for_each_module() {
        assert_eq!(
            violations("extra.rs", ""),
            ["the module extra is in no tier of layers.toml"]
        );
        assert_eq!(violations("flow.rs", "use crate::Root;").len(), 1);
        assert_eq!(violations("lib.rs", "use crate::flow;"), Vec::<String>::new());
    }

    #[test]
    fn keeps_a_package_to_its_modules() {
        assert_eq!(
            violations("flow.rs", "use aya::Ebpf;"),
            ["line 1: flow names aya; only net may"]
        );
        assert_eq!(violations("net.rs", "use aya::Ebpf;"), Vec::<String>::new());
        assert_eq!(
            violations("flow.rs", "use himalaya::Ebpf;\n// aya::Ebpf\n"),
            Vec::<String>::new()
        );
    }
}
