//! Full TLS handshakes, one after another on each of several tasks: no session is resumed, a certificate is shown.
//!
//! One counts when the server's first frame of HTTP/2 has come: then the server has finished the handshake too, and has
//! accepted the certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// RFC 9113, 3.4: the client's preface, and its settings: none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// RFC 9113, 6.5: the type of a SETTINGS frame, the fourth byte of its head.
const SETTINGS: u8 = 4;
/// A proxy that is busy with some others answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Checks the server's certificate but for its name: what it is for is a SPIFFE ID, which no name stands for.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

/// TLS 1.3, HTTP/2, one's own certificate, no resumption.
pub(crate) fn settings(certificate: &str, key: &str, roots: &str) -> Result<Arc<ClientConfig>> {
    let read = |path: &str| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
        chain.with_context(|| format!("read {path}"))
    };
    let mut store = RootCertStore::empty();
    for root in read(roots)? {
        store.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build()?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName { inner }));
    let mut config = builder.with_client_auth_cert(read(certificate)?, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Says `@ COUNT MICROSECONDS MEDIAN`: how many in how long, and the median of one in microseconds.
pub(crate) async fn run(
    target: SocketAddr,
    clients: u32,
    seconds: u64,
    settings: Arc<ClientConfig>,
) -> Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let connector = TlsConnector::from(settings.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                let done = timeout(DEADLINE, one(target, &connector)).await;
                done.with_context(|| format!("{target} took longer than {DEADLINE:?}"))??;
                times.push(begin.elapsed());
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    let passed = start.elapsed().as_micros();
    times.sort_unstable();
    let median = times.get(times.len() / 2).context("no handshake was done")?;
    println!("@ {} {passed} {}", times.len(), median.as_micros());
    Ok(())
}

async fn one(target: SocketAddr, connector: &TlsConnector) -> Result<()> {
    let stream = TcpStream::connect(target).await.context("connect")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("bench.invalid")?;
    let mut tls = connector.connect(name, stream).await.context("TLS handshake")?;
    ensure!(
        tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        "the server does not speak HTTP/2"
    );
    tls.write_all(PREFACE).await?;
    let mut frame = [0; 9];
    tls.read_exact(&mut frame)
        .await
        .context("the server closed before it spoke: it does not accept the certificate")?;
    if frame[3] != SETTINGS {
        bail!("the server's first frame is no SETTINGS: {frame:?}");
    }
    Ok(())
}

// === impl AnyName ===

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
