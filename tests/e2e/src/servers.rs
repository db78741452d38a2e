//! Everyday servers, as a workload runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use mesh_harness::{Process, Workload};
use nix::unistd::User;

use crate::{LONG, MOMENT};

/// Where [`nginx`] listens.
pub const NGINX_PORT: u16 = 8080;
/// Redis' own port.
pub const REDIS_PORT: u16 = 6379;
/// PostgreSQL's own port.
pub const POSTGRES_PORT: u16 = 5432;
/// PostgreSQL refuses to run as root.
const POSTGRES_USER: &str = "postgres";

/// A certificate that signs itself, and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Certificate {
    /// For these names.
    pub fn new(names: &[&str]) -> Result<Self> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let signed = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            certificate: signed.cert.pem(),
            key: signed.signing_key.serialize_pem(),
        })
    }
}

/// nginx with one worker, both families, files from `<folder>/html` and `ok` at `/ok`. Keeps idle connections.
pub fn nginx(workload: &Workload, folder: &Path) -> Result<Process> {
    let home = folder.join(format!("nginx-{}", workload.name));
    fs::create_dir_all(home.join("html")).with_context(|| format!("make {}", home.display()))?;
    let path = home.display();
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};"))
        .join("\n");
    let config = format!(
        "daemon off; master_process off; worker_rlimit_nofile 19000; pid {path}/pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 15000; }}\n\
         http {{\n{scratch}\naccess_log off; sendfile on; keepalive_timeout 600s; keepalive_requests 10000000;\n\
         server {{\n\
         listen 0.0.0.0:{NGINX_PORT} backlog=4096; listen [::]:{NGINX_PORT} ipv6only=on backlog=4096;\n\
         root {path}/html;\n\
         location = /ok {{ return 200 ok; }}\n\
         location = /whoami {{ return 200 \"$remote_addr\"; }}\n\
         }} }}\n"
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
    let process = program.args(["-e", "stderr"]).spawn()?;
    listening(workload, NGINX_PORT, process)
}

/// Where [`nginx`] of a workload takes files from.
pub fn nginx_files(workload: &Workload, folder: &Path) -> std::path::PathBuf {
    folder.join(format!("nginx-{}", workload.name)).join("html")
}

/// Redis, in memory only.
pub fn redis(workload: &Workload, folder: &Path) -> Result<Process> {
    let port = REDIS_PORT.to_string();
    let program = workload.place.program("redis-server")?.folder(folder);
    let program = program.args([
        "--port",
        &port,
        "--bind",
        "0.0.0.0",
        "::",
        "--protected-mode",
        "no",
    ]);
    let process = program.args(["--save", "", "--daemonize", "no"]).spawn()?;
    listening(workload, REDIS_PORT, process)
}

/// PostgreSQL with a fresh database that anybody may use, without TLS.
pub fn postgres(workload: &Workload, folder: &Path) -> Result<Process> {
    postgres_with(workload, folder, None)
}

/// PostgreSQL with a fresh database that anybody may use, with or without TLS as the client likes.
pub fn postgres_with(workload: &Workload, folder: &Path, tls: Option<&Certificate>) -> Result<Process> {
    let data = folder.join("postgres");
    fs::create_dir(&data).with_context(|| format!("make {}", data.display()))?;
    let user = User::from_name(POSTGRES_USER)?.context("there is no user postgres: the package makes it")?;
    std::os::unix::fs::chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
    let initdb = workload
        .place
        .program("initdb")?
        .user(POSTGRES_USER)
        .folder(&data);
    initdb
        .args(["--auth=trust", "--no-sync", "-D"])
        .arg(&data)
        .run(LONG)?
        .success()?;
    let rules = data.join("pg_hba.conf");
    let mut text = fs::read_to_string(&rules).with_context(|| format!("read {}", rules.display()))?;
    text.push_str("host all all all trust\n");
    fs::write(&rules, text).with_context(|| format!("write {}", rules.display()))?;
    let program = workload
        .place
        .program("postgres")?
        .user(POSTGRES_USER)
        .folder(&data)
        .arg("-D")
        .arg(&data);
    let mut settings = vec!["listen_addresses=*", "fsync=off", "unix_socket_directories="];
    if let Some(tls) = tls {
        for (file, pem) in [("server.crt", &tls.certificate), ("server.key", &tls.key)] {
            let path = data.join(file);
            fs::write(&path, pem).with_context(|| format!("write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            std::os::unix::fs::chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        settings.push("ssl=on");
    }
    let process = program
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .spawn()?;
    listening(workload, POSTGRES_PORT, process)
}

pub(crate) fn listening(workload: &Workload, port: u16, process: Process) -> Result<Process> {
    match workload.place.wait_listening(port, MOMENT) {
        Ok(()) => Ok(process),
        Err(error) => Err(error.context(format!("{}: {}", process.name(), process.log_tail()))),
    }
}
