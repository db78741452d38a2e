//! Who speaks first decides, nothing of what was said is lost, and who says nothing waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::net::socket;

const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for a connection on the loopback, however busy the machine.
const A_WHILE: Duration = Duration::from_millis(300);
const EVERYTHING: Look = Look::Everything { grace: GRACE };
const ROUTED: Look = Look::Everything { grace: ROUTED_GRACE };

/// A client with its connection as the node has it, and a server that is asked when it is time.
struct Stage {
    client: TcpStream,
    accepted: TcpStream,
    upstream: Upstream<Side>,
    server: TcpListener,
    /// Connections to the server so far.
    opened: Arc<AtomicUsize>,
}

/// What a client of TLS sends first.
fn client_hello(server: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let server = server.to_owned().try_into().unwrap();
    let mut bytes = Vec::new();
    let mut client = rustls::ClientConnection::new(Arc::new(config), server).unwrap();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

async fn stage(is_needed: bool) -> Stage {
    let (client, accepted) = pair().await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let open = move || -> futures::future::BoxFuture<'static, Result<Side, Failed>> {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let failed = |source| Failed::from(Failure::Connect { address, source });
            TcpStream::connect(address).await.map(Side::Tcp).map_err(failed)
        })
    };
    Stage {
        client,
        accepted,
        upstream: Upstream::new(open, is_needed),
        server,
        opened,
    }
}

impl Stage {
    async fn look(&mut self, what: Look) -> Seen {
        let looked = look(&self.accepted, what, &mut self.upstream);
        timeout(DEADLINE, looked).await.unwrap().unwrap()
    }

    /// Looks for a while, in which nothing must be told.
    async fn look_in_vain(&mut self, what: Look) {
        let looked = look(&self.accepted, what, &mut self.upstream);
        let told = timeout(A_WHILE, looked).await;
        assert!(told.is_err(), "told: {told:?}");
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// What can be read of the client's after the look.
    async fn read(self, seen: &Seen, count: usize) -> Vec<u8> {
        let mut accepted = if seen.is_stale {
            socket::rearm(self.accepted).unwrap()
        } else {
            self.accepted
        };
        let mut bytes = vec![0; count];
        timeout(DEADLINE, accepted.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        bytes
    }
}

#[tokio::test]
async fn a_request_is_told_at_once_and_left_to_be_read() {
    let mut stage = stage(true).await;
    stage.client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let seen = stage.look(EVERYTHING).await;
    assert_eq!(
        (seen.speech.clone(), seen.outcome),
        (Speech::Http(Version::Http1), "http1")
    );
    assert_eq!(stage.opened(), 0, "nobody's connection is opened for it");
    assert_eq!(stage.read(&seen, 18).await, b"GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn a_request_byte_by_byte_is_a_request() {
    let mut stage = stage(true).await;
    let (client, other) = pair().await;
    let mut client = std::mem::replace(&mut stage.client, client);
    drop(other);
    let slow = async move {
        for byte in b"PROPFIND / HTTP/1.1\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        client
    };
    let (seen, _client) = tokio::join!(stage.look(EVERYTHING), slow);
    assert_eq!(seen.speech, Speech::Http(Version::Http1));
    assert_eq!(stage.read(&seen, 21).await, b"PROPFIND / HTTP/1.1\r\n");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_and_its_words_are_kept() {
    let mut stage = stage(true).await;
    let greeting = async {
        let (mut server, _) = stage.server.accept().await.unwrap();
        server.write_all(b"220 mail").await.unwrap();
        server
    };
    let looked = look(&stage.accepted, EVERYTHING, &mut stage.upstream);
    let (seen, _server) = timeout(DEADLINE, async { tokio::join!(looked, greeting) })
        .await
        .unwrap();
    assert_eq!(seen.unwrap().outcome, "server_first");
    assert!(stage.upstream.is_begun());
    let Ok(Side::Tcp(mut side)) = stage.upstream.opened().await else {
        panic!("not the connection that was opened")
    };
    let mut bytes = [0; 8];
    timeout(DEADLINE, side.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&bytes, b"220 mail");
}

#[tokio::test]
async fn what_is_nothing_known_goes_to_where_it_was_opened() {
    let mut stage = stage(true).await;
    stage.look_in_vain(EVERYTHING).await;
    assert_eq!(stage.opened(), 1, "a silent client has it opened");
    stage.client.write_all(b"\0\0\0\x08").await.unwrap();
    let seen = stage.look(EVERYTHING).await;
    assert_eq!(seen.outcome, "opaque");
    assert_eq!(stage.opened(), 1);
    assert!(stage.upstream.is_begun());
}

#[tokio::test]
async fn both_may_be_silent_for_as_long_as_they_like() {
    let mut stage = stage(true).await;
    let (_server, ()) = tokio::join!(async { stage.server.accept().await.unwrap() }, async {
        let looked = look(&stage.accepted, EVERYTHING, &mut stage.upstream);
        assert!(timeout(A_WHILE, looked).await.is_err());
    });
}

#[tokio::test]
async fn four_letters_without_an_end_are_no_request_for_long() {
    let mut stage = stage(true).await;
    stage.client.write_all(b"ruok").await.unwrap();
    let seen = stage.look(EVERYTHING).await;
    assert_eq!(
        (seen.speech.clone(), seen.outcome),
        (Speech::Bytes { server_name: None }, "undecided")
    );
    assert_eq!(stage.opened(), 1, "it is opened before it is sure");
    assert_eq!(stage.read(&seen, 4).await, b"ruok");
}

#[tokio::test]
async fn an_end_before_any_byte_is_passed_on() {
    let mut stage = stage(true).await;
    stage.client.shutdown().await.unwrap();
    let seen = stage.look(EVERYTHING).await;
    assert_eq!(
        (seen.speech, seen.outcome),
        (Speech::Bytes { server_name: None }, "half_closed")
    );
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_method_loses_nothing() {
    let mut stage = stage(true).await;
    stage.client.write_all(b"GE").await.unwrap();
    stage.client.shutdown().await.unwrap();
    let seen = stage.look(EVERYTHING).await;
    assert_eq!(seen.speech, Speech::Bytes { server_name: None });
    assert_eq!(stage.read(&seen, 2).await, b"GE");
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed() {
    let Stage {
        client,
        accepted,
        mut upstream,
        ..
    } = stage(true).await;
    socket::reset_on_close(&client);
    drop(client);
    let failed = timeout(DEADLINE, look(&accepted, EVERYTHING, &mut upstream))
        .await
        .unwrap();
    assert!(matches!(
        failed.unwrap_err().failure,
        Failure::Broken { side: "client", .. }
    ));
}

#[tokio::test]
async fn a_server_that_cannot_be_had_fails_the_connection_unless_routes_may_lead_elsewhere() {
    let refused = || {
        || -> futures::future::BoxFuture<'static, Result<Side, Failed>> {
            let source = io::ErrorKind::ConnectionRefused.into();
            Box::pin(std::future::ready(Err(Failure::Broken {
                side: "server",
                source,
            }
            .into())))
        }
    };
    let mut stage = stage(true).await;
    stage.upstream = Upstream::new(refused(), true);
    let looked = look(&stage.accepted, EVERYTHING, &mut stage.upstream);
    assert!(timeout(DEADLINE, looked).await.unwrap().is_err());
    stage.upstream = Upstream::new(refused(), false);
    stage.look_in_vain(ROUTED).await;
    stage.client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(stage.look(ROUTED).await.outcome, "http1");
}

#[tokio::test]
async fn where_http_is_declared_only_its_version_is_told() {
    for (bytes, version) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Version::Http2),
        (b"POST / HTTP/1.1\r\n", Version::Http1),
        (b"\x16\x03\x01", Version::Http1),
    ] {
        let mut stage = stage(true).await;
        stage.client.write_all(bytes).await.unwrap();
        assert_eq!(stage.look(Look::Version).await.speech, Speech::Http(version));
        assert_eq!(stage.opened(), 0);
    }
    let mut stage = stage(true).await;
    stage.look_in_vain(Look::Version).await;
    assert_eq!(stage.opened(), 0, "the server of HTTP never speaks first");
}

#[tokio::test]
async fn the_server_name_is_read_from_a_handshake_in_pieces() {
    let mut stage = stage(true).await;
    let hello = client_hello("shop.example.com");
    let (first, rest) = hello.split_at(40);
    stage.client.write_all(first).await.unwrap();
    stage.look_in_vain(Look::ServerName).await;
    stage.client.write_all(rest).await.unwrap();
    let seen = stage.look(Look::ServerName).await;
    let server_name = Some("shop.example.com".to_owned());
    assert_eq!(seen.speech, Speech::Bytes { server_name });
    assert_eq!(stage.opened(), 0, "only the rule knows where it goes");
    assert_eq!(stage.read(&seen, hello.len()).await, hello);
}
