//! The configuration file of mesh-node: one TOML file, strict. Unknown keys are errors.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mesh_model::NodeName;
use mesh_runtime::config::duration;
use mesh_runtime::logging::LogConfig;
use serde::Deserialize;

use crate::capture::{KernelLog, OnStop};
use crate::telemetry::access_log::LoggedConnections;

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
    #[serde(default = "metrics_listener")]
    pub metrics: ListenerConfig,
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
    /// `host:port`.
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
    /// How much the kernel programs log.
    pub kernel_log: KernelLog,
    /// The cgroup of the proxy itself; the process's own when absent.
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

/// The access log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccessLogConfig {
    /// Which connections are written: `all`, `failures` or `off`. JSON or text is up to `[log] format`.
    pub connections: LoggedConnections,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            pin_directory: "/sys/fs/bpf/nodemesh".into(),
            exclude_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
            on_stop: OnStop::Release,
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

// The ports are those of the reference: 15020 metrics, 15021 readiness, 15000 admin.

fn metrics_listener() -> ListenerConfig {
    ListenerConfig {
        address: (Ipv6Addr::UNSPECIFIED, 15020).into(),
    }
}

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
