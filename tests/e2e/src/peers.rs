//! Servers and clients of HTTP, gRPC and WebSocket that are not ours: Node.js' own http and http2, Google's grpcio,
//! Python's websockets. The scripts in this folder only say what they do.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use mesh_harness::{Process, Program, Workload, http};
use serde_json::Value;

use crate::LONG;

/// Where the HTTP server listens: HTTP/1.1, HTTP/2 and TLS.
pub const HTTP_PORT: u16 = 8080;
/// Where the gRPC server listens.
pub const GRPC_PORT: u16 = 7070;
/// Where the WebSocket server listens.
pub const WEBSOCKET_PORT: u16 = 8090;
/// Where the HTTP server shows its log, on the loopback.
const ADMIN_PORT: u16 = 9000;
/// Debian's own interpreter, which sees the packages that apt installs.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPTS: [(&str, &str); 6] = [
    ("echo_server.js", include_str!("peers/echo_server.js")),
    ("http_client.js", include_str!("peers/http_client.js")),
    ("grpc_server.py", include_str!("peers/grpc_server.py")),
    ("grpc_client.py", include_str!("peers/grpc_client.py")),
    ("websocket_server.py", include_str!("peers/websocket_server.py")),
    ("websocket_client.py", include_str!("peers/websocket_client.py")),
];

/// A script, where interpreters find it.
fn script(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if !path.exists() {
        let (_, text) = SCRIPTS
            .iter()
            .find(|(known, _)| *known == name)
            .with_context(|| format!("there is no script {name}"))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(path)
}

/// A script about to run as a workload.
fn program(at: &Workload, folder: &Path, name: &str) -> Result<Program> {
    let path = script(folder, name)?;
    let stem = name.split('.').next().unwrap_or(name);
    let interpreter = if Path::new(name).extension().is_some_and(|end| end == "js") {
        mesh_harness::binaries::theirs("node")?
    } else {
        PathBuf::from(PYTHON)
    };
    Ok(at.place.program_at(stem, &interpreter).arg(path))
}

/// A key and certificate for the HTTP server's TLS; nobody checks them.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: PathBuf,
    certificate: PathBuf,
}

impl Certificate {
    /// Signs itself.
    pub fn new(folder: &Path) -> Result<Self> {
        let signed = rcgen::generate_simple_self_signed(vec!["echo.example".to_owned()])?;
        let (key, certificate) = (folder.join("echo.key"), folder.join("echo.crt"));
        fs::write(&key, signed.signing_key.serialize_pem())?;
        fs::write(&certificate, signed.cert.pem())?;
        Ok(Self { key, certificate })
    }
}

/// The HTTP server, which answers with what it saw and says `name` of itself.
pub fn http_server(at: &Workload, folder: &Path, name: &str, tls: &Certificate) -> Result<Process> {
    let ports = [HTTP_PORT.to_string(), ADMIN_PORT.to_string()];
    let program = program(at, folder, "echo_server.js")?.arg(name).args(ports);
    program.arg(&tls.key).arg(&tls.certificate).spawn()
}

/// The gRPC server.
pub fn grpc_server(at: &Workload, folder: &Path, name: &str) -> Result<Process> {
    let program = program(at, folder, "grpc_server.py")?;
    program.args([name, &GRPC_PORT.to_string()]).spawn()
}

/// The WebSocket server.
pub fn websocket_server(at: &Workload, folder: &Path, name: &str) -> Result<Process> {
    let program = program(at, folder, "websocket_server.py")?;
    program.args([name, &WEBSOCKET_PORT.to_string()]).spawn()
}

/// Waits until all three listen.
pub fn wait_listening(at: &Workload, servers: &[Process]) -> Result<()> {
    for port in [HTTP_PORT, GRPC_PORT, WEBSOCKET_PORT] {
        at.place.wait_listening(port, LONG).with_context(|| {
            let logs = servers.iter().map(|server| server.log_tail() + "\n");
            format!("the servers of {}: {}", at.name, logs.collect::<String>())
        })?;
    }
    Ok(())
}

/// Every request that an HTTP server has got since it was last told to forget them.
pub fn log(of: &Workload) -> Result<Vec<Value>> {
    match admin(of, "/log")? {
        Value::Array(entries) => Ok(entries),
        other => anyhow::bail!("the log of {} is {other}", of.name),
    }
}

/// How many connections an HTTP server has got in all, and how many are open.
pub fn connections(of: &Workload) -> Result<(u64, u64)> {
    let counts = admin(of, "/connections")?;
    let count = |name: &str| counts[name].as_u64().context("no count");
    Ok((count("ever")?, count("open")?))
}

fn admin(of: &Workload, path: &str) -> Result<Value> {
    let at = SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT));
    let answer = http::get(of.place.netns(), at, path)?;
    serde_json::from_str(&answer.body).with_context(|| format!("{path} of {}", of.name))
}

/// Makes requests with an HTTP client: one answer for each. `http_client.js` has the fields.
pub fn http(from: &Workload, folder: &Path, to: SocketAddr, asks: &[Value]) -> Result<Vec<Value>> {
    let program = program(from, folder, "http_client.js")?;
    let program = program.args([to.ip().to_string(), to.port().to_string()]);
    answers(program, asks)
}

/// Makes calls with a gRPC client, all over one channel: one answer for each call that was asked for.
/// `grpc_client.py` has the fields.
pub fn grpc(from: &Workload, folder: &Path, to: SocketAddr, calls: &[Value]) -> Result<Vec<Value>> {
    answers(
        program(from, folder, "grpc_client.py")?.arg(to.to_string()),
        calls,
    )
}

/// What a client answers to lines of JSON.
fn answers(client: Program, asks: &[Value]) -> Result<Vec<Value>> {
    let lines: Vec<String> = asks.iter().map(ToString::to_string).collect();
    let text = client.input(lines.join("\n")).run(LONG)?.success()?.text();
    let answers = text.lines().map(serde_json::from_str);
    Ok(answers.collect::<Result<_, _>>()?)
}

/// What a WebSocket client met; `websocket_client.py` has the words.
pub fn websocket(
    from: &Workload,
    folder: &Path,
    url: &str,
    words: &[&str],
    deadline: Duration,
) -> Result<Value> {
    let program = program(from, folder, "websocket_client.py")?.arg(url).args(words);
    let text = program.run(deadline)?.success()?.text();
    serde_json::from_str(&text).with_context(|| format!("read {text:?}"))
}
