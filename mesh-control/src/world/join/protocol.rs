//! What is spoken at a Service's port: `appProtocol` first, then the port name's prefix.

use mesh_model::AppProtocol;

use crate::world::{Origin, Report, ServicePort};

/// What the port declares.
pub(super) fn declared(origin: &Origin, port: &ServicePort, report: &mut Report) -> AppProtocol {
    if let Some(declared) = &port.app_protocol {
        if let Some(protocol) = of_app_protocol(declared) {
            return protocol;
        }
        report.note(
            origin,
            format!("{}.appProtocol", port.field),
            format!("'{declared}' is no protocol that is known here"),
            "the port's name decides instead; without a known prefix the protocol is found out from the first bytes",
        );
    }
    of_port_name(&port.name).unwrap_or(AppProtocol::Undeclared)
}

/// Kubernetes' own values, Istio's, and Gateway API's. Names of protocols in which the server may speak first stand
/// for bytes that are not to be looked into.
fn of_app_protocol(text: &str) -> Option<AppProtocol> {
    Some(match text.to_ascii_lowercase().as_str() {
        // A WebSocket begins as an HTTP/1.1 request (RFC 6455 §4.1).
        "http" | "http1" | "http/1.1" | "kubernetes.io/ws" | "ws" => AppProtocol::Http1,
        "http2" | "h2c" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" | "grpc-web" | "kubernetes.io/grpc" => AppProtocol::Grpc,
        "https" | "tls" | "kubernetes.io/wss" | "wss" => AppProtocol::Tls,
        "tcp" | "mongo" | "mysql" | "redis" | "postgres" | "postgresql" | "amqp" | "kafka" | "smtp"
        | "imap" | "pop3" | "ftp" | "ssh" | "ldap" => AppProtocol::Tcp,
        _ => return None,
    })
}

/// Istio's convention: the protocol, alone or before the first '-'.
fn of_port_name(name: &str) -> Option<AppProtocol> {
    // The only protocol with a '-' of its own.
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return Some(AppProtocol::Grpc);
    }
    of_app_protocol(name.split('-').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(name: &str, app_protocol: Option<&str>) -> (AppProtocol, usize) {
        let port = ServicePort {
            field: "spec.ports[0]".to_owned(),
            name: name.to_owned(),
            port: 80,
            target: crate::world::TargetPort::Same,
            app_protocol: app_protocol.map(str::to_owned),
        };
        let mut report = Report::default();
        let origin = Origin::file(std::path::Path::new("x.yaml"));
        (
            declared(&origin, &port, &mut report),
            report.into_problems().len(),
        )
    }

    #[test]
    fn app_protocol_goes_before_the_name() {
        assert_eq!(
            protocol("http-api", Some("kubernetes.io/h2c")),
            (AppProtocol::Http2, 0)
        );
        assert_eq!(protocol("http-api", Some("mysql")), (AppProtocol::Tcp, 0));
        assert_eq!(protocol("db", Some("HTTP")), (AppProtocol::Http1, 0));
        assert_eq!(protocol("db", Some("kubernetes.io/ws")), (AppProtocol::Http1, 0));
        assert_eq!(protocol("db", Some("kubernetes.io/wss")), (AppProtocol::Tls, 0));
    }

    #[test]
    fn the_names_prefix_decides_without_app_protocol() {
        for (name, expected) in [
            ("http", AppProtocol::Http1),
            ("http-api", AppProtocol::Http1),
            ("http2-api", AppProtocol::Http2),
            ("grpc", AppProtocol::Grpc),
            ("grpc-web-x", AppProtocol::Grpc),
            ("https-api", AppProtocol::Tls),
            ("tls", AppProtocol::Tls),
            ("tcp-db", AppProtocol::Tcp),
            ("redis", AppProtocol::Tcp),
            ("httpapi", AppProtocol::Undeclared),
            ("api-http", AppProtocol::Undeclared),
            ("", AppProtocol::Undeclared),
        ] {
            assert_eq!(protocol(name, None), (expected, 0), "{name}");
        }
    }

    #[test]
    fn an_unknown_app_protocol_is_noted_and_the_name_decides() {
        assert_eq!(
            protocol("http-api", Some("example.com/own")),
            (AppProtocol::Http1, 1)
        );
        assert_eq!(
            protocol("api", Some("example.com/own")),
            (AppProtocol::Undeclared, 1)
        );
    }
}
