//! Everyday servers that are not nginx's plain HTTP: those that speak first, and nginx behind TLS.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mesh_harness::{Process, Workload};
use nix::unistd::User;

use crate::LONG;
use crate::servers::{Certificate, listening};

/// MySQL's own port.
pub const MARIADB_PORT: u16 = 3306;
/// SMTP's own port.
pub const SMTP_PORT: u16 = 25;
/// SSH's own port.
pub const SSH_PORT: u16 = 22;
/// HTTPS' own port.
pub const HTTPS_PORT: u16 = 443;
/// Where [`https`] speaks HTTP.
pub const NAME_PORT: u16 = 8080;
/// MariaDB refuses to run as root, and its user comes with a package that would start it.
const NOBODY: &str = "nobody";
/// The user of the database.
pub const MARIADB_USER: &str = "shop";

/// MariaDB with a fresh database for [`MARIADB_USER`], who has no password.
pub fn mariadb(workload: &Workload, folder: &Path) -> Result<Process> {
    let data = owned_folder(&folder.join("mariadb"))?;
    let install = workload.place.program("mariadb-install-db")?.user(NOBODY);
    let install = install
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()));
    install
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .run(LONG)?
        .success()?;
    let start = data.join("start.sql");
    let text = format!("CREATE USER '{MARIADB_USER}'@'%';\nGRANT ALL ON *.* TO '{MARIADB_USER}'@'%';\n");
    fs::write(&start, text).with_context(|| format!("write {}", start.display()))?;
    let path = data.display();
    let program = workload.place.program("mariadbd")?.user(NOBODY);
    let process = program
        .args([
            "--no-defaults".to_owned(),
            format!("--datadir={path}"),
            format!("--socket={path}/socket"),
            format!("--pid-file={path}/pid"),
            format!("--init-file={path}/start.sql"),
            format!("--port={MARIADB_PORT}"),
        ])
        .args([
            "--bind-address=*",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .spawn()?;
    listening(workload, MARIADB_PORT, process)
}

/// An SMTP server that writes every mail to its log.
pub fn smtp(workload: &Workload) -> Result<Process> {
    let program = workload.place.program("aiosmtpd")?.env("PYTHONUNBUFFERED", "1");
    let process = program
        .args(["-n", "-l", &format!("0.0.0.0:{SMTP_PORT}")])
        .spawn()?;
    listening(workload, SMTP_PORT, process)
}

/// An SSH server that lets root in with a key; gives the key's file too.
pub fn ssh(workload: &Workload, folder: &Path) -> Result<(Process, PathBuf)> {
    let home = folder.join("ssh");
    fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
    // The server insists on this one; packages of systems make it at the start of the service.
    fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
    for name in ["host", "user"] {
        let make = workload.place.program("ssh-keygen")?.folder(&home);
        make.args(["-q", "-t", "ed25519", "-N", "", "-f", name])
            .run(LONG)?
            .success()?;
    }
    let path = home.display();
    let config = home.join("sshd_config");
    let text = format!(
        "Port {SSH_PORT}\nHostKey {path}/host\nAuthorizedKeysFile {path}/user.pub\nPidFile none\nStrictModes no\n\
         UsePAM no\nUseDNS no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 1000\n"
    );
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let process = workload
        .place
        .program("sshd")?
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .spawn()?;
    Ok((listening(workload, SSH_PORT, process)?, home.join("user")))
}

/// nginx that answers `/name` with its workload's name and `/ok` with `ok`, and closes, over HTTP at [`NAME_PORT`] and over HTTPS.
pub fn https(workload: &Workload, folder: &Path, certificate: &Certificate) -> Result<Process> {
    let home = folder.join(format!("https-{}", workload.name));
    fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
    let (path, name) = (home.display(), &workload.name);
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};"))
        .join("\n");
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr warn; events {{ worker_connections 4000; }}\n\
         http {{\n{scratch}\naccess_log off; keepalive_timeout 0;\n\
         server {{ listen 0.0.0.0:{NAME_PORT} backlog=4096; listen 0.0.0.0:{HTTPS_PORT} ssl backlog=4096;\n\
         ssl_certificate {path}/certificate.pem; ssl_certificate_key {path}/key.pem;\n\
         location = /name {{ return 200 \"{name}\\n\"; }} location = /ok {{ return 200 ok; }} }} }}\n"
    );
    let files = [
        ("nginx.conf", &config),
        ("certificate.pem", &certificate.certificate),
        ("key.pem", &certificate.key),
    ];
    for (file, text) in files {
        fs::write(home.join(file), text).with_context(|| format!("write {file} of {name}"))?;
    }
    let program = workload.place.program("nginx")?.arg("-p").arg(&home);
    let process = program
        .arg("-c")
        .arg(home.join("nginx.conf"))
        .args(["-e", "stderr"])
        .spawn()?;
    listening(workload, HTTPS_PORT, process)
}

fn owned_folder(folder: &Path) -> Result<PathBuf> {
    fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
    let user = User::from_name(NOBODY)?.context("there is no user nobody")?;
    chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    Ok(folder.to_owned())
}
