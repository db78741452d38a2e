//! A certificate request: proof that the asker has the key, and the key. Nothing else of it counts.

use rcgen::{PublicKeyData as _, SignatureAlgorithm, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// Largest request that is looked at. One with a P-384 key and a long name has about 600 bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a request.
    #[error("the certificate request is no PKCS #10 request in DER")]
    Malformed,
    /// Signed by another key than its own.
    #[error("the certificate request is not signed by its own key")]
    Signature,
    /// A key of a kind that is not certified.
    #[error("keys of this kind are not certified: use ECDSA P-256, ECDSA P-384 or Ed25519")]
    Algorithm,
}

/// Verifies a request in DER, and takes its key. RSA is refused: each handshake would cost the node a millisecond.
pub(super) fn verified_key(request: &[u8]) -> Result<SubjectPublicKeyInfo, RequestError> {
    if request.len() > MAX_BYTES {
        return Err(RequestError::Malformed);
    }
    let (rest, parsed) = X509CertificationRequest::from_der(request).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    let key = SubjectPublicKeyInfo::from_der(parsed.certification_request_info.subject_pki.raw)
        .map_err(|_| RequestError::Algorithm)?;
    let accepted: [&SignatureAlgorithm; 3] = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !accepted.contains(&key.algorithm()) {
        return Err(RequestError::Algorithm);
    }
    parsed.verify_signature().map_err(|_| RequestError::Signature)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn request(algorithm: &'static SignatureAlgorithm) -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        (key, request.der().to_vec())
    }

    #[test]
    fn takes_the_key_of_a_request_that_proves_it() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let (key, request) = request(algorithm);
            assert_eq!(
                verified_key(&request).unwrap().der_bytes(),
                key.public_key_raw(),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn refuses_a_request_signed_by_another_key() {
        let (_, mut request) = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (key, _) = self::request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let own = {
            let (_, parsed) = X509CertificationRequest::from_der(&request).unwrap();
            parsed
                .certification_request_info
                .subject_pki
                .subject_public_key
                .data
                .to_vec()
        };
        let at = request
            .windows(own.len())
            .position(|window| window == own)
            .unwrap();
        request[at..at + own.len()].copy_from_slice(key.public_key_raw());
        assert_eq!(verified_key(&request).err(), Some(RequestError::Signature));
    }

    #[test]
    fn refuses_what_is_no_request() {
        let (_, request) = request(&rcgen::PKCS_ED25519);
        let mut longer = request.clone();
        longer.push(0);
        for bytes in [
            &[][..],
            b"hello",
            &request[..request.len() - 1],
            &longer,
            &vec![0x30; MAX_BYTES + 1],
        ] {
            assert_eq!(verified_key(bytes).err(), Some(RequestError::Malformed));
        }
    }

    #[test]
    fn refuses_keys_of_other_kinds() {
        for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P521_SHA512] {
            let (_, request) = request(algorithm);
            assert_eq!(
                verified_key(&request).err(),
                Some(RequestError::Algorithm),
                "{algorithm:?}"
            );
        }
    }
}
