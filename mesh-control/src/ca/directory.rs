//! The own root on disk: made once, kept with owner-only rights, rolled over in three steps.
//!
//! ```text
//! DIRECTORY/state.json          which root signs and which are trusted; replaced whole, so a step happens or not
//! DIRECTORY/<fingerprint>.crt   a root's certificate, PEM
//! DIRECTORY/<fingerprint>.key   its key, PKCS #8 PEM
//! DIRECTORY/lock                held while something is written: the command line and the server share the directory
//! ```

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_model::TrustDomain;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::rotation::{Rotation, Step};
use super::signer::Signer;
use super::{CaError, x509};

/// How long a root is valid: 10 years, as Istio's and Kubernetes' own.
const ROOT_LIFETIME: Duration = Duration::from_hours(24 * 3650);
/// A root is valid from a little before it was made, for nodes whose clocks are behind.
const BACKDATE: Duration = Duration::from_hours(1);
/// How much of the fingerprint tells roots apart in their subject.
const SUBJECT_SUFFIX_BYTES: usize = 4;

/// An own root's directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

// === impl Directory ===

impl Directory {
    /// The directory at this path, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Whether there is a root.
    pub fn exists(&self) -> bool {
        self.state_path().exists()
    }

    /// Makes the root if there is none.
    pub fn ensure(&self, trust_domain: &TrustDomain) -> Result<(), CaError> {
        x509::private_directory(&self.path)?;
        let _lock = self.lock()?;
        if self.exists() {
            return Ok(());
        }
        let signer = self.make_root(trust_domain)?;
        self.write_state(&Rotation::Stable { signer })
    }

    /// Where a rollover stands.
    pub fn rotation(&self) -> Result<Rotation, CaError> {
        let path = self.state_path();
        let text = fs::read(&path).map_err(CaError::file(&path))?;
        serde_json::from_slice(&text).map_err(|error| {
            CaError::content(
                &path,
                format!("{error}; restore the file from a backup of the directory"),
            )
        })
    }

    /// Takes a step of the rollover, and returns where it stands then.
    pub fn rotate(&self, step: Step, trust_domain: &TrustDomain) -> Result<Rotation, CaError> {
        x509::check_private(&self.path)?;
        let _lock = self.lock()?;
        let current = self.rotation()?;
        current.check(step)?;
        let next = match step {
            Step::Prepare => current.prepared(self.make_root(trust_domain)?)?,
            Step::Activate => current.activated()?,
            Step::Finish => current.finished()?,
        };
        self.write_state(&next)?;
        if let (Step::Finish, Some(previous)) = (step, current.other()) {
            for extension in ["key", "crt"] {
                let path = self.file(previous, extension);
                fs::remove_file(&path).map_err(CaError::file(&path))?;
            }
        }
        Ok(next)
    }

    /// The signer, as the rollover stands.
    pub(super) fn signer(&self) -> Result<Signer, CaError> {
        x509::check_private(&self.path)?;
        // A step removes files after it has replaced the state.
        let _lock = self.lock()?;
        let rotation = self.rotation()?;
        let certificate = self.certificate(rotation.signer())?;
        let mut roots = vec![certificate.clone()];
        if let Some(other) = rotation.other() {
            roots.push(self.certificate(other)?);
        }
        let key_path = self.file(rotation.signer(), "key");
        let key = read_key(&key_path)?;
        Signer::new(
            &self.file(rotation.signer(), "crt"),
            certificate,
            key,
            Vec::new(),
            roots,
        )
    }

    fn certificate(&self, fingerprint: &str) -> Result<CertificateDer<'static>, CaError> {
        let path = self.file(fingerprint, "crt");
        let first = x509::read_certificates(&path)?.into_iter().next();
        first
            .filter(|certificate| x509::hex(&x509::fingerprint(certificate)) == fingerprint)
            .ok_or_else(|| {
                CaError::content(&path, "is not the certificate that it is named after; restore it")
            })
    }

    fn make_root(&self, trust_domain: &TrustDomain) -> Result<String, CaError> {
        // ECDSA P-256: what every peer verifies fast.
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATE;
        params.not_after = now + ROOT_LIFETIME;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        // A signing certificate carries the trust domain's own SPIFFE ID (X509-SVID §4.1).
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        // Two roots of one trust domain need different subjects, for people and for path building.
        let suffix = x509::fingerprint(key.public_key_raw());
        let suffix = x509::hex(suffix.get(..SUBJECT_SUFFIX_BYTES).unwrap_or(&suffix));
        params
            .distinguished_name
            .push(DnType::OrganizationName, "nodemesh");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("nodemesh root {suffix}"));
        let certificate = params.self_signed(&key)?;
        let fingerprint = x509::hex(&x509::fingerprint(certificate.der()));
        x509::write_private(&self.file(&fingerprint, "key"), key.serialize_pem().as_bytes())?;
        let pem = x509::to_pem(certificate.der());
        x509::write_private(&self.file(&fingerprint, "crt"), pem.as_bytes())?;
        Ok(fingerprint)
    }

    fn write_state(&self, state: &Rotation) -> Result<(), CaError> {
        let path = self.state_path();
        let text =
            serde_json::to_vec_pretty(state).map_err(|error| CaError::content(&path, error.to_string()))?;
        x509::write_private(&path, &text)
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, CaError> {
        let path = self.path.join("lock");
        let lock = || {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(CaError::file(&path))
    }

    /// The file that a step replaces.
    pub(super) fn state_path(&self) -> PathBuf {
        self.path.join("state.json")
    }

    fn file(&self, fingerprint: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{fingerprint}.{extension}"))
    }
}

/// Reads a private key that nobody else may read.
pub(super) fn read_key(path: &Path) -> Result<KeyPair, CaError> {
    x509::check_private(path)?;
    let pem = fs::read_to_string(path).map_err(CaError::file(path))?;
    KeyPair::from_pem(&pem).map_err(|error| {
        CaError::content(
            path,
            format!("is no private key: {error}; write it as PKCS #8 PEM (openssl pkcs8 -topk8 -nocrypt)"),
        )
    })
}
