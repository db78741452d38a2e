//! Against rustls with buffers of its own (tokio-rustls), at either end: what one writes the other reads, whatever the sizes.

use std::io::ErrorKind;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::identity::tls::provider;

const NAME: &str = "web.workload.test";
const DEADLINE: Duration = Duration::from_secs(20);

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn configs() -> Configs {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![NAME.to_owned()])
        .unwrap()
        .signed_by(&key, &root)
        .unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let versions = &[&rustls::version::TLS13];
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Configs {
        client: Arc::new(client),
        server: Arc::new(server),
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

fn name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

/// A channel that was connected to, with a client that is not ours.
async fn accepted() -> (Client, tokio_rustls::client::TlsStream<TcpStream>) {
    let configs = configs();
    let (client, server) = pair().await;
    let connector = TlsConnector::from(configs.client);
    let (client, server) = tokio::join!(connector.connect(name(), client), accept(server, &configs.server));
    (server.unwrap(), client.unwrap())
}

/// A channel that connected, with a server that is not ours.
async fn connected() -> ((Channel, Flush), tokio_rustls::server::TlsStream<TcpStream>) {
    let configs = configs();
    let (client, server) = pair().await;
    let acceptor = TlsAcceptor::from(configs.server);
    let (client, server) = tokio::join!(connect(client, configs.client, name()), acceptor.accept(server));
    (client.unwrap(), server.unwrap())
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|index| u8::try_from(index * 7 % 251).unwrap())
        .collect()
}

/// Writes of all sizes, from a byte to several records.
async fn write_in_parts(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) {
    for size in [1, 100, 16_383, 16_384, 16_385, 70_000, 300_000]
        .into_iter()
        .cycle()
    {
        let (now, later) = bytes.split_at(bytes.len().min(size));
        stream.write_all(now).await.unwrap();
        bytes = later;
        if bytes.is_empty() {
            break;
        }
    }
    stream.flush().await.unwrap();
}

async fn exchange(mut channel: Channel, peer: impl AsyncRead + AsyncWrite) {
    const MUCH: usize = 3_000_000;
    let (mut peer_reads, mut peer_writes) = tokio::io::split(peer);
    let bytes = pattern(MUCH);
    let (mut here, mut there) = (vec![0; MUCH], vec![0; MUCH]);
    timeout(DEADLINE, async {
        tokio::join!(write_in_parts(&mut channel, &bytes), async {
            peer_reads.read_exact(&mut there).await.unwrap();
        });
        tokio::join!(write_in_parts(&mut peer_writes, &bytes), async {
            channel.read_exact(&mut here).await.unwrap();
        });
    })
    .await
    .unwrap();
    assert!(here == bytes && there == bytes);
    // Nothing is on its way: nothing is held.
    let wire = channel.0.lock();
    assert!(wire.ahead.capacity() == 0 && wire.outbox.holds_nothing() && wire.plain.holds_nothing());
}

#[tokio::test]
async fn a_server_reads_and_writes_what_a_client_does() {
    let (server, client) = accepted().await;
    assert_eq!(server.server_name.as_deref(), Some(NAME));
    exchange(server.channel.0, client).await;
}

#[tokio::test]
async fn a_client_reads_and_writes_what_a_server_does() {
    let ((channel, _flush), server) = connected().await;
    exchange(channel, server).await;
}

#[tokio::test]
async fn new_keys_of_the_peer_are_taken_and_answered() {
    let (server, mut client) = accepted().await;
    let (mut channel, _flush) = server.channel;
    for round in [b"one", b"two"] {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(round).await.unwrap();
        let mut got = [0; 3];
        timeout(DEADLINE, channel.read_exact(&mut got))
            .await
            .unwrap()
            .unwrap();
        channel.write_all(&got).await.unwrap();
        channel.flush().await.unwrap();
        timeout(DEADLINE, client.read_exact(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&got, round);
    }
}

#[tokio::test]
async fn an_end_is_told_and_heard() {
    let (server, mut client) = accepted().await;
    let (mut channel, _flush) = server.channel;
    channel.write_all(b"last").await.unwrap();
    channel.shutdown().await.unwrap();
    let mut got = Vec::new();
    // An error, had the connection ended without close_notify.
    timeout(DEADLINE, client.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, b"last");
    client.shutdown().await.unwrap();
    assert_eq!(
        timeout(DEADLINE, channel.read(&mut [0])).await.unwrap().unwrap(),
        0
    );
}

#[tokio::test]
async fn what_was_cut_off_is_no_end() {
    let (server, client) = accepted().await;
    let mut channel = server.channel.0;
    drop(client.into_inner().0);
    let error = timeout(DEADLINE, channel.read(&mut [0]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_record_that_was_changed_is_an_error() {
    let (server, client) = accepted().await;
    let mut channel = server.channel.0;
    let (mut tcp, _session) = client.into_inner();
    let mut record = vec![0x17, 3, 3, 0, 40];
    record.extend([9; 40]);
    tcp.write_all(&record).await.unwrap();
    let error = timeout(DEADLINE, channel.read(&mut [0]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_is_written_in_one_turn_leaves_as_one_record() {
    const HEADER_AND_TAG: usize = 22;
    let (server, client) = accepted().await;
    let (mut channel, flush) = server.channel;
    let (mut tcp, _session) = client.into_inner();
    flush.defer();
    for _ in 0..100 {
        channel.write_all(&[7; 100]).await.unwrap();
        channel.flush().await.unwrap();
    }
    let early = timeout(Duration::from_millis(50), tcp.read_u8()).await;
    assert!(early.is_err(), "something left before the end of the turn");
    poll_fn(|context| {
        flush.flush(context);
        Poll::Ready(())
    })
    .await;
    let mut record = vec![0; 100 * 100 + HEADER_AND_TAG];
    timeout(DEADLINE, tcp.read_exact(&mut record))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        usize::from(record[3]) * 256 + usize::from(record[4]),
        record.len() - 5
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_the_writer_and_loses_nothing() {
    let (server, mut client) = accepted().await;
    let (mut channel, flush) = server.channel;
    let chunk = pattern(100_000);
    let mut sent = 0;
    let stopped = async {
        loop {
            sent += channel.write(&chunk[sent % chunk.len()..]).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(300), stopped).await.is_err());
    let mut got = vec![0; sent];
    let flushed = poll_fn(|context| {
        flush.flush(context);
        if flush.0.lock().outbox.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let ((), read) = timeout(DEADLINE, async {
        tokio::join!(flushed, client.read_exact(&mut got))
    })
    .await
    .unwrap();
    read.unwrap();
    assert!(
        got.iter()
            .enumerate()
            .all(|(index, byte)| *byte == chunk[index % chunk.len()])
    );
}

#[tokio::test]
async fn who_is_not_trusted_is_told_so() {
    let (configs, other) = (configs(), configs());
    let (client, server) = pair().await;
    let acceptor = TlsAcceptor::from(other.server);
    let (client, server) = tokio::join!(connect(client, configs.client, name()), acceptor.accept(server));
    let reason = crate::identity::verify::explain(&client.map(|_| ()).unwrap_err());
    assert!(
        reason.contains("nobody whom this mesh trusts") || reason.contains("BadSignature"),
        "{reason}"
    );
    let told = server.map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("alert"), "{told}");
}
