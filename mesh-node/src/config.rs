//! The configuration file of mesh-node: one TOML file, strict. Unknown keys are errors.

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::http::uri::Authority;
use ipnet::IpNet;
use mesh_model::NodeName;
use mesh_runtime::config::duration;
use mesh_runtime::logging::LogConfig;
use serde::Deserialize;

use crate::capture::{KernelLog, OnStop};

mod http;
mod telemetry;
#[cfg(test)]
mod tests;

pub use self::http::HttpConfig;
pub use self::telemetry::{AccessLogConfig, MetricsConfig};

/// Flow-control windows, in bytes: from HTTP/2's own default to its largest (RFC 9113, 6.9.1 and 6.9.2).
const WINDOWS: RangeInclusive<u32> = 65_535..=2_147_483_647;
/// Sizes of a frame, in bytes (RFC 9113, 6.5.2).
const FRAMES: RangeInclusive<u32> = 16_384..=16_777_215;
/// Counts of streams, connections and attempts: one at least; more than this is a slip of the keyboard.
const COUNTS: RangeInclusive<usize> = 1..=100_000;
/// Data-plane threads: more than any machine's cores is a slip, too.
const THREADS: RangeInclusive<usize> = 1..=4_096;

/// A value that has the right form and still makes no sense. Names the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}; correct it there and try again")]
pub struct Senseless {
    key: &'static str,
    reason: String,
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `[node]`.
    pub node: NodeConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[capture]`.
    #[serde(default)]
    pub capture: CaptureConfig,
    /// `[outbound]`.
    #[serde(default)]
    pub outbound: OutboundConfig,
    /// `[http]`.
    #[serde(default)]
    pub http: HttpConfig,
    /// `[hbone]`.
    #[serde(default)]
    pub hbone: HboneConfig,
    /// `[drain]`.
    #[serde(default)]
    pub drain: DrainConfig,
    /// `[threads]`.
    #[serde(default)]
    pub threads: ThreadConfig,
    /// `[metrics]`.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// `[readiness]`.
    #[serde(default = "readiness_listener")]
    pub readiness: ListenerConfig,
    /// `[admin]`.
    #[serde(default = "admin_listener")]
    pub admin: ListenerConfig,
    /// `[log]`.
    #[serde(default)]
    pub log: LogConfig,
    /// `[access-log]`.
    #[serde(default)]
    pub access_log: AccessLogConfig,
}

/// Which node this is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// Its name, as workloads' `spec.node` has it.
    pub name: NodeName,
    /// Where the last good configuration is kept. Survives a reboot.
    #[serde(default = "state_directory")]
    pub state_directory: PathBuf,
    /// Where certificates and their keys are kept for a restart, with access for the owner only. Should be a tmpfs.
    #[serde(default = "runtime_directory")]
    pub runtime_directory: PathBuf,
}

/// How the control plane is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlConfig {
    /// `host:port`; an IPv6 address in brackets.
    pub address: String,
    /// The DNS name in its certificate.
    #[serde(default = "server_name")]
    pub server_name: String,
    /// A PEM file with the roots that its certificate is verified against, beside the mesh's own.
    pub root_certificates: PathBuf,
    /// A file with this node's join token.
    pub token_file: PathBuf,
}

/// What is captured, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CaptureConfig {
    /// A directory on a bpffs, for this node alone.
    pub pin_directory: PathBuf,
    /// Destination ports that are left alone.
    pub exclude_ports: Vec<u16>,
    /// Destination networks that are left alone.
    pub exclude_cidrs: Vec<IpNet>,
    /// Whether capture stays in force when the process stops.
    pub on_stop: OnStop,
    /// Whether connections within the node that the proxy need not carry go past it.
    pub direct_connections: bool,
    /// How much the kernel programs log.
    pub kernel_log: KernelLog,
    /// The cgroup of the proxy itself, below the hierarchy's mount point or as a path within it; made if it is not there.
    /// The process's own when absent.
    pub proxy_cgroup: Option<PathBuf>,
}

/// What becomes of connections that workloads open.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct OutboundConfig {
    /// What becomes of a connection to what the mesh does not know.
    pub unknown: UnknownDestination,
    /// Longest wait for a TCP connection to come about.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How many endpoints of a Service are tried for one connection.
    pub connect_attempts: usize,
}

/// What becomes of a connection to what the mesh does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownDestination {
    /// It is made, as it is.
    Passthrough,
    /// It is reset.
    Refuse,
}

/// Tunnels to other nodes. The defaults are ztunnel's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HboneConfig {
    /// Flow-control window of a stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of a connection, in bytes.
    pub connection_window: u32,
    /// Largest DATA frame, in bytes.
    pub max_frame: u32,
    /// Streams in one connection that this node opens.
    pub max_streams_per_connection: usize,
    /// Connections between one pair.
    pub max_connections_per_pair: usize,
    /// Longest wait for TCP, TLS and HTTP/2 to come about.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a connection without streams is kept.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How often the peer is probed.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// How long an unanswered probe is waited for.
    #[serde(with = "duration")]
    pub ping_timeout: Duration,
}

/// Stopping.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DrainConfig {
    /// How long open connections are given after SIGTERM.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

/// Threads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ThreadConfig {
    /// Data-plane threads.
    pub workers: usize,
}

/// An HTTP listener of the process itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListenerConfig {
    /// Where it listens.
    pub address: SocketAddr,
}

// === impl Config ===

impl Config {
    /// Refuses values that no part of the program could work with.
    pub fn check(&self) -> Result<(), Senseless> {
        self.control.check()?;
        self.http.check()?;
        self.hbone.check()?;
        within(
            "outbound.connect-attempts",
            self.outbound.connect_attempts,
            &COUNTS,
        )?;
        not_zero("outbound.connect-timeout", self.outbound.connect_timeout)?;
        within("threads.workers", self.threads.workers, &THREADS)?;
        self.metrics.check()?;
        self.access_log.check()?;
        self.log.check().map_err(|error| Senseless {
            key: "log.filter",
            reason: error.to_string(),
        })
    }
}

// === impl ControlConfig ===

impl ControlConfig {
    fn check(&self) -> Result<(), Senseless> {
        let authority: Option<Authority> = self.address.parse().ok();
        match authority.and_then(|authority| authority.port_u16()) {
            Some(1..) if !self.address.contains('@') => Ok(()),
            _ => Err(Senseless {
                key: "control.address",
                reason: format!(
                    "'{}' is no HOST:PORT, such as 192.0.2.1:15010 or [2001:db8::1]:15010",
                    self.address
                ),
            }),
        }
    }
}

// === impl HboneConfig ===

impl HboneConfig {
    fn check(&self) -> Result<(), Senseless> {
        within("hbone.stream-window", self.stream_window, &WINDOWS)?;
        within("hbone.connection-window", self.connection_window, &WINDOWS)?;
        within("hbone.max-frame", self.max_frame, &FRAMES)?;
        within(
            "hbone.max-streams-per-connection",
            self.max_streams_per_connection,
            &COUNTS,
        )?;
        within(
            "hbone.max-connections-per-pair",
            self.max_connections_per_pair,
            &COUNTS,
        )?;
        not_zero("hbone.connect-timeout", self.connect_timeout)?;
        not_zero("hbone.idle-timeout", self.idle_timeout)?;
        not_zero("hbone.ping-interval", self.ping_interval)?;
        not_zero("hbone.ping-timeout", self.ping_timeout)
    }
}

fn within<T: Copy + PartialOrd + Display>(
    key: &'static str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), Senseless> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Senseless {
        key,
        reason: format!("{value} is not between {} and {}", range.start(), range.end()),
    })
}

fn not_zero(key: &'static str, value: Duration) -> Result<(), Senseless> {
    if value.is_zero() {
        let reason = "no time is too short".to_owned();
        return Err(Senseless { key, reason });
    }
    Ok(())
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            pin_directory: "/sys/fs/bpf/nodemesh".into(),
            exclude_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
            on_stop: OnStop::Release,
            direct_connections: true,
            kernel_log: KernelLog::Off,
            proxy_cgroup: None,
        }
    }
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            unknown: UnknownDestination::Passthrough,
            connect_timeout: Duration::from_secs(10),
            connect_attempts: 3,
        }
    }
}

impl Default for HboneConfig {
    fn default() -> Self {
        Self {
            stream_window: 4 * 1024 * 1024,
            connection_window: 16 * 1024 * 1024,
            max_frame: 1024 * 1024,
            max_streams_per_connection: 100,
            max_connections_per_pair: 256,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
        }
    }
}

impl Default for ThreadConfig {
    /// A thread a core, four at most: beyond that a node's CPU is the workloads', and this is set by hand.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: cores.min(4),
        }
    }
}

// The ports are those of Istio's proxies, which operators know: 15021 readiness, 15000 admin.

fn readiness_listener() -> ListenerConfig {
    ListenerConfig {
        address: (Ipv6Addr::UNSPECIFIED, 15021).into(),
    }
}

fn admin_listener() -> ListenerConfig {
    ListenerConfig {
        address: (Ipv4Addr::LOCALHOST, 15000).into(),
    }
}

fn state_directory() -> PathBuf {
    "/var/lib/nodemesh".into()
}

fn runtime_directory() -> PathBuf {
    "/run/nodemesh".into()
}

fn server_name() -> String {
    "mesh-control".to_owned()
}
