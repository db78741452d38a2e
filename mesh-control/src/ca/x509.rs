//! Reading and writing of PEM and private files, and the few facts of a certificate that matter here.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::CaError;

/// Rights of others than the owner.
const OTHERS: u32 = 0o077;

/// SHA-256 of a certificate's DER: its name here.
pub(super) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// A fingerprint as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// When a certificate ends.
pub(super) fn not_after(path: &Path, certificate: &[u8]) -> Result<OffsetDateTime, CaError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| CaError::content(path, format!("is no X.509 certificate: {error}")))?;
    Ok(parsed.validity().not_after.to_datetime())
}

/// Every certificate of a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let pem = fs::read(path).map_err(CaError::file(path))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(CaError::content(
            path,
            "holds no certificate; write PEM that begins -----BEGIN CERTIFICATE-----",
        )),
        Err(error) => Err(CaError::content(path, format!("is no PEM: {error}"))),
    }
}

/// A certificate as PEM (RFC 7468).
pub(super) fn to_pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    // 64 characters a line, of 3 bytes for each 4.
    let lines: Vec<String> = certificate
        .chunks(48)
        .map(|chunk| base64::engine::general_purpose::STANDARD.encode(chunk))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Refuses a file or directory to which others than its owner have any rights.
pub(super) fn check_private(path: &Path) -> Result<(), CaError> {
    let metadata = fs::metadata(path).map_err(CaError::file(path))?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        let wanted = if metadata.is_dir() { "0700" } else { "0600" };
        let path = path.to_owned();
        return Err(CaError::Permissions { path, mode, wanted });
    }
    Ok(())
}

/// Makes a directory for its owner only, if it is not there; refuses one that is open to others.
pub(super) fn private_directory(path: &Path) -> Result<(), CaError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(CaError::file(path))?;
    check_private(path)
}

/// Writes a file for its owner only, so that it is there whole or not at all, also after a power failure.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), CaError> {
    let write = || -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        temporary.write_all(content)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(CaError::file(path))
}
