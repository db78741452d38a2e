//! The manifests' folder that the control plane watches, and builders of the common kinds.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::topology::Workload;

/// A folder of manifests.
#[derive(Debug, Clone)]
pub struct Manifests {
    folder: PathBuf,
}

/// A `Workload` manifest.
#[derive(Debug, Clone)]
#[must_use]
pub struct WorkloadManifest {
    namespace: String,
    name: String,
    node: String,
    service_account: String,
    addresses: Vec<String>,
    host_network: bool,
    cgroup: String,
    network_namespace: Option<String>,
    labels: Vec<(String, String)>,
    ports: Vec<(String, u16)>,
    is_ready: bool,
    /// Region and zone.
    locality: Option<(String, String)>,
    weight: Option<u32>,
}

/// A `Service` manifest.
#[derive(Debug, Clone)]
#[must_use]
pub struct ServiceManifest {
    namespace: String,
    name: String,
    addresses: Vec<String>,
    ports: Vec<ServicePort>,
    selector: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct ServicePort {
    name: String,
    port: u16,
    target: u16,
    protocol: Option<String>,
}

// === impl Manifests ===

impl Manifests {
    /// Uses a folder, which is made if it is not there.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file at once, as a careful editor does: the watcher never sees half of it.
    pub fn write(&self, file: &str, yaml: &str) -> Result<()> {
        let draft = self.folder.join(format!(".{file}.draft"));
        let path = self.folder.join(file);
        fs::write(&draft, yaml).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Writes a Namespace, in the mesh or not.
    pub fn namespace(&self, name: &str, enrolled: bool) -> Result<()> {
        let label = if enrolled { "enabled" } else { "disabled" };
        self.write(
            &format!("namespace-{name}.yaml"),
            &format!(
                "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    nodemesh.io/mesh: {label}\n"
            ),
        )
    }

    /// Writes a Workload; gives the file's name.
    pub fn workload(&self, manifest: &WorkloadManifest) -> Result<String> {
        let file = format!("workload-{}-{}.yaml", manifest.namespace, manifest.name);
        self.write(&file, &manifest.yaml())?;
        Ok(file)
    }

    /// Writes a Service; gives the file's name.
    pub fn service(&self, manifest: &ServiceManifest) -> Result<String> {
        let file = format!("service-{}-{}.yaml", manifest.namespace, manifest.name);
        self.write(&file, &manifest.yaml())?;
        Ok(file)
    }
}

// === impl WorkloadManifest ===

impl WorkloadManifest {
    /// For a workload of the topology. The namespace file is named for those that have one of their own.
    pub fn new(namespace: &str, node: &str, workload: &Workload) -> Self {
        let own = !workload.host_network;
        Self {
            namespace: namespace.to_owned(),
            name: workload.name.clone(),
            node: node.to_owned(),
            service_account: workload.name.clone(),
            addresses: workload.addresses.iter().map(ToString::to_string).collect(),
            host_network: workload.host_network,
            cgroup: workload.cgroup.clone(),
            network_namespace: own.then(|| workload.place.netns().path().display().to_string()),
            labels: vec![("app".to_owned(), workload.name.clone())],
            ports: Vec::new(),
            is_ready: true,
            locality: None,
            weight: None,
        }
    }

    /// Other addresses than the topology's.
    pub fn addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.addresses = addresses.iter().map(ToString::to_string).collect();
        self
    }

    /// Whether it gets new connections; it does by default.
    pub fn ready(mut self, is_ready: bool) -> Self {
        self.is_ready = is_ready;
        self
    }

    /// Another name than the topology's.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The service account; the workload's name by default.
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    /// One more label. `app` is the workload's name by default.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.retain(|(known, _)| known != name);
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more port.
    pub fn port(mut self, name: &str, port: u16) -> Self {
        self.ports.push((name.to_owned(), port));
        self
    }

    /// Where it runs.
    pub fn locality(mut self, region: &str, zone: &str) -> Self {
        self.locality = Some((region.to_owned(), zone.to_owned()));
        self
    }

    /// Its share among the endpoints of a Service; 1 by default.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Leaves the network namespace to be found through the cgroup's processes.
    pub fn network_namespace_by_cgroup(mut self) -> Self {
        self.network_namespace = None;
        self
    }

    /// The text.
    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: nodemesh.io/v1alpha1\nkind: Workload\nmetadata:\n  name: {}\n  namespace: {}\n",
            self.name, self.namespace
        );
        write_map(&mut yaml, "  labels", &self.labels);
        let addresses: Vec<String> = self
            .addresses
            .iter()
            .map(|address| format!("\"{address}\""))
            .collect();
        push(&mut yaml, format_args!("spec:\n  node: {}\n", self.node));
        push(
            &mut yaml,
            format_args!("  serviceAccount: {}\n", self.service_account),
        );
        push(
            &mut yaml,
            format_args!("  addresses: [{}]\n", addresses.join(", ")),
        );
        push(
            &mut yaml,
            format_args!(
                "  hostNetwork: {}\n  cgroup: {}\n",
                self.host_network, self.cgroup
            ),
        );
        if let Some(path) = &self.network_namespace {
            push(&mut yaml, format_args!("  networkNamespace: {path}\n"));
        }
        if !self.is_ready {
            yaml.push_str("  ready: false\n");
        }
        if let Some((region, zone)) = &self.locality {
            push(
                &mut yaml,
                format_args!("  locality: {{ region: {region}, zone: {zone} }}\n"),
            );
        }
        if let Some(weight) = self.weight {
            push(&mut yaml, format_args!("  weight: {weight}\n"));
        }
        if !self.ports.is_empty() {
            yaml.push_str("  ports:\n");
        }
        for (name, port) in &self.ports {
            push(
                &mut yaml,
                format_args!("    - {{ name: {name}, port: {port}, protocol: TCP }}\n"),
            );
        }
        yaml
    }
}

// === impl ServiceManifest ===

impl ServiceManifest {
    /// A Service that selects the workloads whose label `app` is its name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            addresses: Vec::new(),
            ports: Vec::new(),
            selector: vec![("app".to_owned(), name.to_owned())],
        }
    }

    /// One more virtual address.
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// One more port, and the endpoints' port behind it; bytes that nobody looks into.
    pub fn port(self, port: u16, target: u16) -> Self {
        self.named_port(&format!("p{port}"), port, target, Some("tcp"))
    }

    /// One more port, and what is spoken there (`appProtocol`), if the manifest says so.
    pub fn named_port(mut self, name: &str, port: u16, target: u16, protocol: Option<&str>) -> Self {
        self.ports.push(ServicePort {
            name: name.to_owned(),
            port,
            target,
            protocol: protocol.map(str::to_owned),
        });
        self
    }

    /// Selects by another value of `app`.
    pub fn selects(self, app: &str) -> Self {
        self.selects_label("app", app)
    }

    /// Selects by another label.
    pub fn selects_label(mut self, label: &str, value: &str) -> Self {
        self.selector = vec![(label.to_owned(), value.to_owned())];
        self
    }

    /// The text.
    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n",
            self.name, self.namespace
        );
        if let Some(first) = self.addresses.first() {
            let all: Vec<String> = self
                .addresses
                .iter()
                .map(|address| format!("\"{address}\""))
                .collect();
            push(
                &mut yaml,
                format_args!("  clusterIP: \"{first}\"\n  clusterIPs: [{}]\n", all.join(", ")),
            );
        }
        write_map(&mut yaml, "  selector", &self.selector);
        yaml.push_str("  ports:\n");
        for port in &self.ports {
            let ServicePort {
                name,
                port,
                target,
                protocol,
            } = port;
            push(
                &mut yaml,
                format_args!("    - {{ name: {name}, port: {port}, targetPort: {target}"),
            );
            if let Some(protocol) = protocol {
                push(&mut yaml, format_args!(", appProtocol: {protocol}"));
            }
            yaml.push_str(" }\n");
        }
        yaml
    }
}

fn write_map(yaml: &mut String, key: &str, entries: &[(String, String)]) {
    if entries.is_empty() {
        return;
    }
    let indent = " ".repeat(key.len() - key.trim_start().len() + 2);
    push(yaml, format_args!("{key}:\n"));
    for (name, value) in entries {
        push(yaml, format_args!("{indent}{name}: {value}\n"));
    }
}

/// Formats onto a string, which cannot fail.
fn push(yaml: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = yaml.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_service_as_kubernetes_has_it() {
        let yaml = ServiceManifest::new("shop", "web")
            .address("10.96.0.1")
            .address("fd00:96::1")
            .port(80, 8080)
            .yaml();
        assert_eq!(
            yaml,
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  \
             clusterIP: \"10.96.0.1\"\n  clusterIPs: [\"10.96.0.1\", \"fd00:96::1\"]\n  selector:\n    app: web\n  \
             ports:\n    - { name: p80, port: 80, targetPort: 8080, appProtocol: tcp }\n"
        );
    }
}
