//! Envoy's bootstrap configuration (Envoy API v3), as JSON.
//!
//! Envoy's defaults, but for limits: none of its circuit breakers is in the way of a load.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::certificates::{CLIENT, Certificates, Pair, SERVER};

const TYPES: &str = "type.googleapis.com/envoy.extensions";
/// Above anything that a load opens.
const NO_LIMIT: u32 = 1_000_000;

/// A listener, and the one backend behind it.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) name: String,
    pub(super) port: u16,
    /// Whether clients come with mutual TLS.
    pub(super) secured: bool,
    /// The routing rules; none: bytes.
    pub(super) http: Option<Rules>,
    pub(super) backend: Backend,
}

/// Routing rules: prefixes of paths, the first that fits counts.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    prefixes: Vec<String>,
}

/// Where it goes.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) endpoints: Vec<SocketAddr>,
    /// The file that says which of them there are at the moment.
    pub(super) discovered: Option<PathBuf>,
    /// With mutual TLS.
    pub(super) secured: bool,
    pub(super) http2: bool,
}

// === impl Rules ===

impl Rules {
    pub(super) fn one(prefix: &str) -> Self {
        Self {
            prefixes: vec![prefix.to_owned()],
        }
    }

    pub(super) fn of(prefixes: &[String]) -> Self {
        Self {
            prefixes: prefixes.to_vec(),
        }
    }
}

/// The whole file.
pub(super) fn write(hops: &[Hop], certificates: &Certificates, access_log: &Path) -> Value {
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "admin": { "address": address("127.0.0.1:9901".parse().ok()) },
        "static_resources": {
            "listeners": hops.iter().map(|hop| listener(hop, certificates, access_log)).collect::<Vec<_>>(),
            "clusters": hops.iter().map(|hop| cluster(hop, certificates)).collect::<Vec<_>>(),
        }
    })
}

fn address(at: Option<SocketAddr>) -> Value {
    at.map_or(
        Value::Null,
        |at| json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } }),
    )
}

fn listener(hop: &Hop, certificates: &Certificates, access_log: &Path) -> Value {
    let filter = hop
        .http
        .as_ref()
        .map_or_else(|| tcp_proxy(hop), |rules| http_manager(hop, rules, access_log));
    let mut chain = json!({ "filters": [filter] });
    if hop.secured {
        let mut context = tls_context(certificates, &certificates.server, CLIENT, hop.http.is_some());
        context["@type"] = json!(format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"));
        context["require_client_certificate"] = json!(true);
        chain["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": context });
    }
    json!({
        "name": hop.name,
        "address": address(Some(SocketAddr::from(([0, 0, 0, 0], hop.port)))),
        "filter_chains": [chain],
    })
}

fn tcp_proxy(hop: &Hop) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": hop.name,
            "cluster": hop.name,
        }
    })
}

/// The second Envoy, like the mesh's node at the server, writes no line for a request: the first has written it.
fn http_manager(hop: &Hop, rules: &Rules, access_log: &Path) -> Value {
    let routes: Vec<Value> = rules.prefixes.iter().map(|prefix| route(hop, prefix)).collect();
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": hop.name,
        "codec_type": "AUTO",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{TYPES}.filters.http.router.v3.Router") },
        }],
    });
    if !hop.secured {
        manager["access_log"] = json!([{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"),
                "path": access_log.to_string_lossy(),
            }
        }]);
    }
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager })
}

fn route(hop: &Hop, prefix: &str) -> Value {
    let mut action = json!({ "cluster": hop.name, "timeout": "15s" });
    if !hop.secured {
        action["retry_policy"] = json!({ "retry_on": "connect-failure,reset,retriable-status-codes",
            "retriable_status_codes": [503], "num_retries": 1 });
    }
    json!({ "match": { "prefix": prefix }, "route": action })
}

fn cluster(hop: &Hop, certificates: &Certificates) -> Value {
    let backend = &hop.backend;
    let thresholds = json!({ "max_connections": NO_LIMIT, "max_pending_requests": NO_LIMIT,
        "max_requests": NO_LIMIT });
    let mut cluster = json!({
        "name": hop.name,
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": { "thresholds": [thresholds] },
    });
    if let Some(file) = &backend.discovered {
        cluster["type"] = json!("EDS");
        cluster["eds_cluster_config"] = json!({ "eds_config": {
            "path_config_source": { "path": file.to_string_lossy() }, "resource_api_version": "V3" } });
    } else {
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] = assignment(hop, backend.endpoints.len());
    }
    if !hop.secured {
        cluster["outlier_detection"] = json!({ "consecutive_5xx": 5 });
    }
    if backend.http2 {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({ kind: {
            "@type": format!("type.googleapis.com/{kind}"),
            "explicit_http_config": { "http2_protocol_options": {} },
        }});
    }
    if backend.secured {
        let mut context = tls_context(certificates, &certificates.client, SERVER, hop.http.is_some());
        context["@type"] = json!(format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"));
        cluster["transport_socket"] =
            json!({ "name": "envoy.transport_sockets.tls", "typed_config": context });
    }
    cluster
}

fn assignment(hop: &Hop, count: usize) -> Value {
    let endpoints = hop.backend.endpoints.iter().take(count);
    let endpoints: Vec<Value> = endpoints
        .map(|endpoint| json!({ "endpoint": { "address": address(Some(*endpoint)) } }))
        .collect();
    json!({ "cluster_name": hop.name, "endpoints": [{ "lb_endpoints": endpoints }] })
}

/// What the file of discovered endpoints says when there are so many: a discovery response.
pub(super) fn endpoints(hop: &Hop, count: usize) -> Value {
    let mut resource = assignment(hop, count);
    resource["@type"] = json!("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
    json!({ "version_info": count.to_string(), "resources": [resource] })
}

/// TLS 1.3 with one's own certificate, and a peer that must have the other's SPIFFE ID: what the mesh demands.
fn tls_context(certificates: &Certificates, own: &Pair, peer: &str, is_http: bool) -> Value {
    let file = |path: &Path| json!({ "filename": path.to_string_lossy() });
    let mut common = json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{ "certificate_chain": file(&own.certificate), "private_key": file(&own.key) }],
        "validation_context": {
            "trusted_ca": file(&certificates.roots),
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": peer } }],
        },
    });
    if is_http {
        common["alpn_protocols"] = json!(["h2"]);
    }
    json!({ "common_tls_context": common })
}
