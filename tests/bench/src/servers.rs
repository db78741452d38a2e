//! What stands behind the proxies: nginx, iperf3, and tonic's gRPC server with a few lines of ours around it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use mesh_harness::{Process, Workload};

use crate::load;
use crate::plan::{Named as _, Size};

/// HTTP/1.1 of nginx.
pub const HTTP1_PORT: u16 = 8080;
/// HTTP/2 without TLS of nginx.
pub const HTTP2_PORT: u16 = 8081;
/// tonic's gRPC.
pub const GRPC_PORT: u16 = 8082;
/// iperf3's own port.
pub const BULK_PORT: u16 = 5201;
/// nginx reads its configuration and listens within milliseconds; loaded machines get the rest.
const START: Duration = Duration::from_secs(20);

/// A way to a server, by what is spoken and what is between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1, one routing rule.
    Http1,
    /// HTTP/2, one routing rule.
    Http2,
    /// gRPC, one routing rule.
    Grpc,
    /// Bytes, to the server of HTTP/1.1.
    Bytes,
    /// Bytes, to iperf3.
    Bulk,
    /// HTTP/1.1, a thousand routing rules; to the other node only.
    Many,
    /// HTTP/1.1, one routing rule, two servers of which one comes and goes; to the other node only.
    Churn,
}

// === impl Way ===

impl Way {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Http1,
        Self::Http2,
        Self::Grpc,
        Self::Bytes,
        Self::Bulk,
        Self::Many,
        Self::Churn,
    ];

    /// The server's port.
    pub fn server_port(self) -> u16 {
        match self {
            Self::Http1 | Self::Bytes | Self::Many | Self::Churn => HTTP1_PORT,
            Self::Http2 => HTTP2_PORT,
            Self::Grpc => GRPC_PORT,
            Self::Bulk => BULK_PORT,
        }
    }

    /// Whether the server speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    /// Whether proxies look into it.
    pub fn is_http(self) -> bool {
        !matches!(self, Self::Bytes | Self::Bulk)
    }
}

/// All servers of a pod.
pub fn start(workload: &Workload, folder: &Path) -> Result<Vec<Process>> {
    let grpc = workload.place.program_at("grpc", &load::tool()?);
    let grpc = grpc.args(["grpc", &GRPC_PORT.to_string()]).spawn()?;
    let bulk = workload.place.program("iperf3")?;
    let bulk = bulk.args(["-s", "-p", &BULK_PORT.to_string()]).spawn()?;
    Ok(vec![
        nginx(workload, folder)?,
        listening(workload, GRPC_PORT, grpc)?,
        listening(workload, BULK_PORT, bulk)?,
    ])
}

/// nginx with one worker: files of every size, kept open, no access log, connections that last.
pub fn nginx(workload: &Workload, folder: &Path) -> Result<Process> {
    let home = folder.join(format!("nginx-{}", workload.name));
    let files = home.join("html");
    for &size in Size::ALL {
        let file = load::file_of(&files, size);
        let parent = file.parent().context("a file without a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        fs::write(&file, vec![b'x'; size.bytes()]).with_context(|| format!("write {}", file.display()))?;
    }
    let path = home.display();
    let mut scratch = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(scratch, "{kind}_temp_path {path}/{kind};")?;
    }
    // With sendfile, the head of an answer over HTTP/2 and its body leave by two calls, and without TLS nginx does not switch
    // Nagle's algorithm off: each answer would wait 40 ms for the client's delayed acknowledgement.
    let config = format!(
        "daemon off; master_process off; worker_rlimit_nofile 19000; pid {path}/pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 15000; }}\n\
         http {{\n{scratch}\naccess_log off; sendfile on;\n\
         keepalive_timeout 600s; keepalive_requests 100000000; http2_max_concurrent_streams 1024;\n\
         open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;\n\
         root {};\n\
         server {{ listen 0.0.0.0:{HTTP1_PORT} backlog=4096; listen [::]:{HTTP1_PORT} ipv6only=on backlog=4096; }}\n\
         server {{ sendfile off; output_buffers 2 64k;\n\
         listen 0.0.0.0:{HTTP2_PORT} http2 backlog=4096; listen [::]:{HTTP2_PORT} http2 ipv6only=on backlog=4096;\n\
         }} }}\n",
        files.display()
    );
    let file = home.join("nginx.conf");
    fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
    let program = workload
        .place
        .program("nginx")?
        .arg("-p")
        .arg(&home)
        .arg("-c")
        .arg(&file);
    listening(workload, HTTP1_PORT, program.args(["-e", "stderr"]).spawn()?)
}

fn listening(workload: &Workload, port: u16, process: Process) -> Result<Process> {
    match workload.place.wait_listening(port, START) {
        Ok(()) => Ok(process),
        Err(error) => Err(error.context(format!("{}: {}", process.name(), process.log_tail()))),
    }
}
