//! Peers that are not ours: certificates that must be refused, and a tunnel client and server of other making.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mesh_harness::control::Control;
use mesh_harness::{Finished, Process, Workload};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::Value;

use crate::MOMENT;

/// Where mesh-node takes tunnels (HBONE).
pub const TUNNEL_PORT: u16 = 15008;
/// A tunnel client on Python's ssl and hyper-h2: no line of it is shared with the product.
const CLIENT: &str = include_str!("tunnel_client.py");
/// Debian's own interpreter, which sees the packages that apt installs.
const PYTHON: &str = "/usr/bin/python3";

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: String,
}

/// A certificate with its key, in files.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// What a tunnel client met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// The TLS handshake, or the first read after it, failed.
    Refused(String),
    /// An answer that is not 200.
    Status(u16),
    /// 200, and these bytes from the application.
    Opened(String),
}

/// Whether a certificate is good now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For decades.
    Good,
    /// Not since long ago.
    Expired,
}

impl Authority {
    /// The mesh's own, by the key on the control plane's disk: for certificates that only their content makes wrong.
    pub fn of_mesh(control: &Control) -> Result<Self> {
        let folder = control.ca_folder();
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let state: Value = serde_json::from_str(&read("state.json")?)?;
        let signer = state["signer"].as_str().context("state.json names no signer")?;
        let (roots, key) = (read(&format!("{signer}.crt"))?, read(&format!("{signer}.key"))?);
        let issuer = Issuer::from_ca_cert_pem(&roots, KeyPair::from_pem(&key)?)?;
        Ok(Self { issuer, roots })
    }

    /// One that the mesh does not know.
    pub fn foreign(trust_domain: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        let roots = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            roots,
        })
    }

    /// Signs a certificate for a SPIFFE ID and writes it to `folder` under a name.
    pub fn issue(
        &self,
        folder: &Path,
        name: &str,
        identity: &str,
        validity: Validity,
    ) -> Result<Credentials> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match validity {
            Validity::Good => date_time_ymd(2120, 1, 1),
            Validity::Expired => date_time_ymd(2021, 1, 1),
        };
        let certificate = params.signed_by(&key, &self.issuer)?;
        let credentials = Credentials {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        for (path, text) in [
            (&credentials.certificate, certificate.pem()),
            (&credentials.key, key.serialize_pem()),
        ] {
            fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(credentials)
    }

    /// Writes the root to a file.
    pub fn write_roots(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.roots).with_context(|| format!("write {}", path.display()))
    }
}

/// Asks for a tunnel with a client of other making.
#[derive(Debug)]
#[must_use]
pub struct TunnelRequest<'a> {
    /// Where it runs.
    pub from: &'a Workload,
    /// The tunnel's server.
    pub server: SocketAddr,
    /// What it shows; none: no certificate.
    pub credentials: Option<&'a Credentials>,
    /// Whom it trusts.
    pub roots: &'a Path,
    /// The request's method.
    pub method: &'a str,
    /// The request's authority.
    pub authority: &'a str,
}

impl TunnelRequest<'_> {
    /// Sends it, and through the tunnel a GET of `/ok`.
    pub fn send(&self) -> Result<Met> {
        let none = Path::new("-");
        let (certificate, key) = self
            .credentials
            .map_or((none, none), |own| (own.certificate.as_path(), own.key.as_path()));
        let program = self
            .from
            .place
            .program_at("python3", Path::new(PYTHON))
            .args(["-c", CLIENT]);
        let program = program
            .arg(self.server.ip().to_string())
            .arg(self.server.port().to_string());
        let program = program
            .arg(self.roots)
            .arg(certificate)
            .arg(key)
            .args([self.method, self.authority]);
        read(&program.run(MOMENT)?.success()?)
    }
}

fn read(finished: &Finished) -> Result<Met> {
    let text = finished.text();
    let (kind, rest) = text
        .split_once(' ')
        .with_context(|| format!("the tunnel client said {text:?}"))?;
    Ok(match kind {
        "refused" => Met::Refused(rest.to_owned()),
        "status" => Met::Status(rest.parse()?),
        "opened" => Met::Opened(rest.to_owned()),
        _ => anyhow::bail!("the tunnel client said {text:?}"),
    })
}

/// A TLS server at the tunnel's port that shows these credentials, and asks for the client's.
pub fn tls_server(workload: &Workload, credentials: &Credentials, roots: &Path) -> Result<Process> {
    let program = workload
        .place
        .program("openssl")?
        .args(["s_server", "-tls1_3", "-alpn", "h2", "-quiet"]);
    let program = program.args(["-accept", &TUNNEL_PORT.to_string(), "-Verify", "1"]);
    let program = program
        .arg("-cert")
        .arg(&credentials.certificate)
        .arg("-key")
        .arg(&credentials.key);
    let process = program.arg("-CAfile").arg(roots).spawn()?;
    workload.place.wait_listening(TUNNEL_PORT, MOMENT)?;
    Ok(process)
}
