//! Manifests of routes and traffic policies, as short as a table of cases can have them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::hall::NAMESPACE;

/// A route's manifest.
#[derive(Debug, Clone)]
#[must_use]
pub struct Route {
    kind: &'static str,
    namespace: String,
    name: String,
    generation: i64,
    metadata: String,
    parents: Vec<String>,
    hostnames: Vec<String>,
    rules: String,
}

impl Route {
    /// An HTTPRoute of the hall's namespace.
    pub fn http(name: &str) -> Self {
        Self::new("HTTPRoute", name)
    }

    /// A GRPCRoute of the hall's namespace.
    pub fn grpc(name: &str) -> Self {
        Self::new("GRPCRoute", name)
    }

    /// A TLSRoute of the hall's namespace.
    pub fn tls(name: &str) -> Self {
        Self::new("TLSRoute", name)
    }

    /// A TCPRoute of the hall's namespace.
    pub fn tcp(name: &str) -> Self {
        Self::new("TCPRoute", name)
    }

    fn new(kind: &'static str, name: &str) -> Self {
        // Every manifest is a new generation, as an API server would count them: a status says which one it is about.
        static GENERATION: AtomicI64 = AtomicI64::new(1);
        Self {
            kind,
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            metadata: String::new(),
            parents: Vec::new(),
            hostnames: Vec::new(),
            rules: String::new(),
        }
    }

    /// Of another namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// When it was made.
    pub fn created(mut self, time: &str) -> Self {
        self.metadata = format!(", creationTimestamp: \"{time}\"");
        self
    }

    /// One more parent: a Service of the hall's namespace.
    pub fn parent(self, service: &str) -> Self {
        self.parent_with(service, "")
    }

    /// One more parent, with more fields, such as `port: 80`.
    pub fn parent_with(mut self, service: &str, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        self.parents.push(format!(
            "{{ group: \"\", kind: Service, namespace: {NAMESPACE}, name: {service}{comma}{more} }}"
        ));
        self
    }

    /// One more parent, as it stands.
    pub fn parent_as(mut self, yaml: &str) -> Self {
        self.parents.push(yaml.to_owned());
        self
    }

    /// One more host name.
    pub fn hostname(mut self, name: &str) -> Self {
        self.hostnames.push(name.to_owned());
        self
    }

    /// Its rules: a list in YAML, each beginning at the first column.
    pub fn rules(mut self, yaml: &str) -> Self {
        yaml.trim_matches('\n').clone_into(&mut self.rules);
        self
    }

    /// `HTTPRoute` and so on.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The file that [`crate::hall::Hall`] writes it to.
    pub fn file(&self) -> String {
        format!(
            "{}-{}-{}",
            self.kind.to_ascii_lowercase(),
            self.namespace,
            self.name
        )
    }

    /// The text.
    pub fn yaml(&self) -> String {
        let version = match self.kind {
            "TCPRoute" => "v1alpha2",
            _ => "v1",
        };
        let mut yaml = format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: {}\nmetadata: {{ name: {}, namespace: {}, generation: {}{} }}\n\
             spec:\n  parentRefs: [{}]\n",
            self.kind,
            self.name,
            self.namespace,
            self.generation,
            self.metadata,
            self.parents.join(", ")
        );
        if !self.hostnames.is_empty() {
            push(&mut yaml, format_args!("  hostnames: {:?}\n", self.hostnames));
        }
        yaml.push_str("  rules:\n");
        for line in self.rules.lines() {
            push(&mut yaml, format_args!("  {line}\n"));
        }
        yaml
    }
}

/// Formats onto a string, which cannot fail.
fn push(yaml: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = yaml.write_fmt(text);
}
