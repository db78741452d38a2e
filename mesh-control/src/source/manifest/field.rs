//! Values of fields that occur in several kinds, checked while they are read.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::world::{Origin, Report};

/// A port from 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortOrName {
    /// From 1 to 65535.
    Number(u16),
    /// The name of a workload's port.
    Name(String),
}

/// The transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Protocol {
    /// The only one that is carried.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// Left out.
    #[serde(rename = "UDP")]
    Udp,
    /// Left out.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// Reads an address; IPv4 in its IPv6 form becomes IPv4.
pub(super) fn address(text: &str, origin: &Origin, field: String, report: &mut Report) -> Option<IpAddr> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let remedy = "write an IPv4 or IPv6 address, without a port or a prefix length";
        report.error(origin, field, format!("'{text}' is no address"), remedy);
        return None;
    };
    Some(address.to_canonical())
}

/// Notes that a port is left out, unless it is TCP's.
pub(super) fn is_carried(protocol: Protocol, origin: &Origin, field: &str, report: &mut Report) -> bool {
    let name = match protocol {
        Protocol::Tcp => return true,
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    let message = format!("{name} is not carried by the mesh");
    report.note(
        origin,
        format!("{field}.protocol"),
        message,
        "the port is left out and its traffic untouched",
    );
    false
}

/// Checks the name of a port, which is a DNS label or nothing (Kubernetes API reference, ServicePort).
pub(super) fn check_port_name(name: &str, origin: &Origin, field: &str, report: &mut Report) {
    let is_valid = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_valid || name.len() > 63 || name.starts_with('-') || name.ends_with('-') {
        let message = format!("'{name}' is no name of a port");
        let remedy = "use at most 63 lower-case letters, digits and '-', the first and last of them no '-'";
        report.error(origin, format!("{field}.name"), message, remedy);
    }
}

fn port<E: Error>(number: i128) -> Result<u16, E> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(E::custom(format_args!("{number} is no port: use 1 to 65535"))),
    }
}

// === impl Port ===

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
                port(number.into()).map(Port)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Port, E> {
                port(number.into()).map(Port)
            }
        }

        deserializer.deserialize_any(Number)
    }
}

// === impl PortOrName ===

impl<'de> Deserialize<'de> for PortOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = PortOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's number or name")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PortOrName, E> {
                port(number.into()).map(PortOrName::Number)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PortOrName, E> {
                port(number.into()).map(PortOrName::Number)
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<PortOrName, E> {
                if name.is_empty() {
                    return Err(E::invalid_value(Unexpected::Str(name), &self));
                }
                Ok(PortOrName::Name(name.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}
