//! Ends go through, failures are not taken for ends, and nothing runs ahead of a reader that does not read.

use std::io::ErrorKind;
use std::time::Duration;

use mesh_runtime::drain::{self, Trigger};
use mesh_runtime::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::net::socket;

const DEADLINE: Duration = Duration::from_secs(10);

/// A client and a server with the relay between them.
struct Relayed {
    client: TcpStream,
    server: TcpStream,
    release: Trigger,
    outcome: oneshot::Receiver<(Result<(), Failure>, u64, u64)>,
    _tasks: Tasks,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

async fn relayed() -> Relayed {
    let (client, client_side) = pair().await;
    let (server_side, server) = pair().await;
    let (release, released) = drain::channel();
    let (tell, outcome) = oneshot::channel();
    let tasks = Tasks::new();
    tasks.spawn("relay", async move {
        let (mut client, mut server) = (Side::Tcp(client_side), Side::Tcp(server_side));
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        let metric = Counter::default();
        let count = |connection| Count {
            connection,
            metric: &metric,
        };
        let result = relay(
            &mut client,
            &mut server,
            count(&sent),
            count(&received),
            &released,
        )
        .await;
        if result.is_err() {
            client.reset();
            server.reset();
        }
        let counts = (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
        tell.send((result, counts.0, counts.1)).ok();
    });
    Relayed {
        client,
        server,
        release,
        outcome,
        _tasks: tasks,
    }
}

async fn read_to_end(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("a deadline")?;
    Ok(bytes)
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let mut relayed = relayed().await;
    relayed.client.write_all(b"question").await.unwrap();
    relayed.client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut relayed.server).await.unwrap(), b"question");
    // The client has ended its direction; the server's is open.
    relayed.server.write_all(b"answer").await.unwrap();
    relayed.server.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut relayed.client).await.unwrap(), b"answer");
    let (result, sent, received) = relayed.outcome.await.unwrap();
    assert!(result.is_ok());
    assert_eq!((sent, received), (8, 6));
}

#[tokio::test]
async fn a_servers_reset_is_not_taken_for_an_end() {
    let mut relayed = relayed().await;
    relayed.server.write_all(b"half of it").await.unwrap();
    let mut first = [0; 10];
    relayed.client.read_exact(&mut first).await.unwrap();
    socket::reset_on_close(&relayed.server);
    drop(relayed.server);
    assert_eq!(
        read_to_end(&mut relayed.client).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let failure = relayed.outcome.await.unwrap().0.unwrap_err();
    assert!(
        matches!(failure, Failure::Broken { side: "server", .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn a_clients_reset_reaches_the_server() {
    let mut relayed = relayed().await;
    socket::reset_on_close(&relayed.client);
    drop(relayed.client);
    assert_eq!(
        read_to_end(&mut relayed.server).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let failure = relayed.outcome.await.unwrap().0.unwrap_err();
    assert!(
        matches!(failure, Failure::Broken { side: "client", .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn a_release_resets_both_sides() {
    let mut relayed = relayed().await;
    relayed.client.write_all(b"x").await.unwrap();
    relayed.server.read_exact(&mut [0]).await.unwrap();
    relayed.release.stop();
    assert_eq!(
        read_to_end(&mut relayed.client).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        read_to_end(&mut relayed.server).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert!(matches!(relayed.outcome.await.unwrap().0, Err(Failure::Released)));
}

#[tokio::test]
async fn a_server_that_does_not_read_stops_the_client() {
    /// More than the kernel's buffers of both connections hold.
    const MUCH: usize = 64 * 1024 * 1024;
    let mut relayed = relayed().await;
    let written = timeout(
        Duration::from_millis(500),
        relayed.client.write_all(&vec![0; MUCH]),
    )
    .await;
    assert!(written.is_err(), "64 MiB went nowhere");
    relayed.release.stop();
}

#[tokio::test]
async fn a_reset_is_noticed_though_nobody_reads() {
    let mut relayed = relayed().await;
    let chunk = vec![7; 65536];
    // Until everything between the two is full: the relay can't write, and so it does not read.
    while timeout(Duration::from_millis(300), relayed.client.write_all(&chunk))
        .await
        .is_ok()
    {}
    socket::reset_on_close(&relayed.client);
    drop(relayed.client);
    let failure = timeout(DEADLINE, relayed.outcome).await.unwrap().unwrap().0;
    let failure = failure.unwrap_err();
    assert!(
        matches!(failure, Failure::Broken { side: "client", .. }),
        "{failure}"
    );
    let error = read_to_end(&mut relayed.server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_was_sent_before_a_reset_is_delivered_to_a_slow_reader_and_is_no_end() {
    let mut relayed = relayed().await;
    let chunk = vec![7; 65536];
    let mut sent = 0;
    while let Ok(Ok(count)) = timeout(Duration::from_millis(300), relayed.server.write(&chunk)).await {
        sent += count;
    }
    socket::reset_on_close(&relayed.server);
    drop(relayed.server);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut got = 0;
    let mut buffer = vec![0; 65536];
    let error = loop {
        match timeout(DEADLINE, relayed.client.read(&mut buffer)).await.unwrap() {
            Ok(0) => panic!("a reset was taken for an end after {got} of {sent} bytes"),
            Ok(count) => got += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(got > 0);
}

#[tokio::test(start_paused = true)]
async fn what_moves_is_not_idle() {
    const LIMIT: Duration = Duration::from_secs(80);
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let traffic = async {
        for count in [&sent, &received] {
            sleep(Duration::from_secs(60)).await;
            count.fetch_add(1, Ordering::Relaxed);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = idle(&sent, &received, LIMIT) => {}
        () = traffic => {}
    }
    let after = begun.elapsed().as_secs();
    // The last byte after 120 s, seen within an eighth of the limit, and noticed as the last within another.
    assert!((200..=221).contains(&after), "{after} s");
}
