//! Manifests: the YAML documents of a file, as typed resources.
//!
//! Strict: a field that the kind does not have is an error, so that a mistyped one is never ignored. Fields of
//! Kubernetes' kinds that mean nothing here are accepted by name (Kubernetes API reference v1.35). One wrong document
//! does not hide the problems of the others.

mod endpoint_slice;
mod field;
mod grant;
mod metadata;
mod namespace;
mod policy;
mod reader;
mod route;
mod service;
mod text;
mod workload;

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::world::{Namespace, Origin, Report, Route, Service, Slice, Sourced, TrafficPolicy, Workload};

/// Every kind that is known here, and its versions.
const KINDS: [(&str, &[&str]); 10] = [
    ("Namespace", &["v1"]),
    ("Service", &["v1"]),
    ("EndpointSlice", &["discovery.k8s.io/v1"]),
    ("Workload", &["nodemesh.io/v1alpha1"]),
    ("HTTPRoute", &["gateway.networking.k8s.io/v1"]),
    ("GRPCRoute", &["gateway.networking.k8s.io/v1"]),
    (
        "TLSRoute",
        &[
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io/v1alpha3",
            "gateway.networking.k8s.io/v1alpha2",
        ],
    ),
    (
        "TCPRoute",
        &[
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io/v1alpha2",
        ],
    ),
    (
        "ReferenceGrant",
        &[
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io/v1beta1",
        ],
    ),
    ("TrafficPolicy", &["nodemesh.io/v1alpha1"]),
];

/// A resource of a kind that is known here.
#[derive(Debug)]
pub(super) enum Manifest {
    /// `v1 Namespace`.
    Namespace(Sourced<Namespace>),
    /// `v1 Service`.
    Service(Sourced<Service>),
    /// `discovery.k8s.io/v1 EndpointSlice`.
    Slice(Sourced<Slice>),
    /// `nodemesh.io/v1alpha1 Workload`.
    Workload(Sourced<Workload>),
    /// A route of Gateway API.
    Route(Sourced<Route>),
    /// `nodemesh.io/v1alpha1 TrafficPolicy`.
    Policy(Box<Sourced<TrafficPolicy>>),
}

/// One YAML document of a file.
struct Document<'a> {
    text: &'a str,
    /// Its first line in the file, from 1.
    line: usize,
}

/// What every resource begins with. Read leniently, to know what to read strictly.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    api_version: String,
    kind: String,
    metadata: HeaderMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HeaderMetadata {
    name: String,
    namespace: Option<String>,
}

/// Reads a file's text. Whatever is wrong goes to the report.
pub(super) fn parse(file: &Path, text: &str, report: &mut Report) -> Vec<Manifest> {
    let file: Arc<Path> = file.into();
    let mut manifests = Vec::new();
    for (index, document) in documents(text).into_iter().enumerate() {
        let origin = Origin {
            file: Arc::clone(&file),
            document: index + 1,
            line: document.first_line(),
            resource: String::new(),
        };
        manifests.extend(document.parse(origin, report));
    }
    manifests
}

// === impl Document ===

impl Document<'_> {
    /// The first line that says something.
    fn first_line(&self) -> usize {
        let is_silent =
            |line: &&str| line.trim().is_empty() || line.starts_with(['#', '-']) && !line.starts_with("- ");
        self.line + self.text.lines().take_while(is_silent).count()
    }

    fn parse(&self, mut origin: Origin, report: &mut Report) -> Option<Manifest> {
        if let Ok(None) = serde_norway::from_str::<Option<IgnoredAny>>(self.text) {
            // Only comments.
            return None;
        }
        let header: Header = self.read(&origin, report)?;
        origin.resource = header.resource();
        let (version, kind) = (header.api_version.as_str(), header.kind.as_str());
        let is_known = KINDS
            .iter()
            .any(|(name, versions)| *name == kind && versions.contains(&version));
        if !is_known {
            Header::refuse(version, kind, &origin, report);
            return None;
        }
        match kind {
            "Namespace" => {
                let raw: namespace::Raw = self.read(&origin, report)?;
                raw.convert(origin, report).map(Manifest::Namespace)
            }
            "Service" => {
                let raw: service::Raw = self.read(&origin, report)?;
                raw.convert(origin, report).map(Manifest::Service)
            }
            "EndpointSlice" => {
                let raw: endpoint_slice::Raw = self.read(&origin, report)?;
                raw.convert(origin, report).map(Manifest::Slice)
            }
            "Workload" => {
                let raw: workload::Raw = self.read(&origin, report)?;
                raw.convert(origin, report).map(Manifest::Workload)
            }
            "TrafficPolicy" => {
                let raw: policy::Raw = self.read(&origin, report)?;
                let policy = raw.convert(origin, report)?;
                Some(Manifest::Policy(Box::new(policy)))
            }
            "ReferenceGrant" => {
                let raw: grant::Raw = self.read(&origin, report)?;
                raw.note(&origin, report);
                None
            }
            _ => self.route(kind, origin, report).map(Manifest::Route),
        }
    }

    fn route(&self, kind: &str, origin: Origin, report: &mut Report) -> Option<Sourced<Route>> {
        match kind {
            "HTTPRoute" => {
                let raw: route::RawHttpRoute = self.read(&origin, report)?;
                raw.convert(origin, report)
            }
            "GRPCRoute" => {
                let raw: route::RawGrpcRoute = self.read(&origin, report)?;
                raw.convert(origin, report)
            }
            "TLSRoute" => {
                let raw: route::RawTlsRoute = self.read(&origin, report)?;
                raw.convert(origin, report)
            }
            _ => {
                let raw: route::RawTcpRoute = self.read(&origin, report)?;
                raw.convert(origin, report)
            }
        }
    }

    /// Reads the document as a `T`; a problem has the line and the path of the field.
    fn read<T: DeserializeOwned>(&self, origin: &Origin, report: &mut Report) -> Option<T> {
        let deserializer = serde_norway::Deserializer::from_str(self.text);
        match serde_path_to_error::deserialize::<_, T>(deserializer) {
            Ok(value) => Some(value),
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." || path == "?" {
                    String::new()
                } else {
                    path
                };
                let error = error.into_inner();
                let mut origin = origin.clone();
                if let Some(location) = error.location() {
                    origin.line = self.line + location.line().saturating_sub(1);
                }
                let message = plain(&error.to_string());
                report.error(
                    &origin,
                    field,
                    message,
                    "correct it as docs/manifests.md describes",
                );
                None
            }
        }
    }
}

// === impl Header ===

impl Header {
    /// `Kind namespace/name`, as far as the manifest says.
    fn resource(&self) -> String {
        let kind = if self.kind.is_empty() {
            "resource"
        } else {
            &self.kind
        };
        let name = &self.metadata.name;
        if name.is_empty() {
            return format!("{kind} without a name");
        }
        if self.kind == "Namespace" {
            return format!("{kind} {name}");
        }
        let namespace = self
            .metadata
            .namespace
            .as_deref()
            .unwrap_or(metadata::DEFAULT_NAMESPACE);
        format!("{kind} {namespace}/{name}")
    }

    fn refuse(version: &str, kind: &str, origin: &Origin, report: &mut Report) {
        if kind.is_empty() || version.is_empty() {
            let field = if kind.is_empty() { "kind" } else { "apiVersion" };
            report.error(origin, field, "is missing", format!("write a {}", known()));
            return;
        }
        let versions = KINDS.iter().find(|(name, _)| *name == kind);
        let (field, remedy) = match versions {
            Some((_, versions)) => ("apiVersion", format!("write {}", versions.join(", "))),
            None if kind == "List" => (
                "kind",
                "write its items as documents of their own, separated by '---'".to_owned(),
            ),
            None => (
                "kind",
                format!("the folder takes {}; move anything else out of it", known()),
            ),
        };
        let message = format!("'{kind}' of '{version}' is not known here");
        report.error(origin, field, message, remedy);
    }
}

/// The known kinds, for people.
fn known() -> String {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    kinds.join(", ")
}

/// Splits a YAML stream. `---` at the beginning of a line always separates documents, even where it seems to be
/// part of a text (YAML 1.2.2 §9.1.2), so that lines are enough to go by.
fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker && offset > start {
            documents.push(Document {
                text: text.get(start..offset).unwrap_or_default(),
                line: first_line,
            });
            (start, first_line) = (offset, index + 1);
        }
        offset += line.len();
    }
    documents.push(Document {
        text: text.get(start..).unwrap_or_default(),
        line: first_line,
    });
    // What stands before the first marker is mostly nothing.
    documents.retain(|document| !document.text.trim().is_empty());
    documents
}

/// The message without the path in front and the position behind it, which a problem has in fields of its own.
fn plain(message: &str) -> String {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    match message.split_once(": ") {
        Some((path, rest)) if !path.contains(' ') => rest.to_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
