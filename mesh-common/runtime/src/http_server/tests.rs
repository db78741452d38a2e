//! The server over real sockets on the loopback.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::readiness::Readiness;
use crate::tasks::Tasks;

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    tasks: Tasks,
}

impl Running {
    async fn start(router: Router) -> Self {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), router)
            .await
            .unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let tasks = Tasks::new();
        tasks.spawn("server", server.serve(async move { drop(stopped.await) }));
        Self {
            address,
            stop: Some(stop),
            tasks,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request and returns the whole answer.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
        .await
    }
}

fn echo() -> Router {
    Router::new()
        .get("/query", |request| async move {
            Response::text(
                StatusCode::OK,
                request.query_value("key").unwrap_or("none").to_owned(),
            )
        })
        .post("/body", |request: Request| {
            std::future::ready(Response::text(StatusCode::OK, request.body))
        })
        .get("/slow", |_| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Response::text(StatusCode::OK, "done")
        })
}

#[tokio::test]
async fn hands_query_and_body_to_the_handler() {
    let server = Running::start(echo()).await;
    assert!(
        server
            .get("/query?other=1&key=value")
            .await
            .ends_with("\r\n\r\nvalue")
    );
    assert!(server.get("/query").await.ends_with("\r\n\r\nnone"));
    let request = "POST /body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert!(server.ask(request).await.ends_with("\r\n\r\nhello"));
}

#[tokio::test]
async fn says_what_there_is_instead() {
    let server = Running::start(echo()).await;
    let answer = server.get("/nothing").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("/body, /query, /slow"), "{answer}");
    let answer = server.get("/body").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: POST"), "{answer}");
}

#[tokio::test]
async fn refuses_a_large_body() {
    let server = Running::start(echo()).await;
    let head = "POST /body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 70000\r\n\r\n";
    let answer = server.ask(&format!("{head}{}", "x".repeat(70_000))).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn finishes_the_request_at_hand_when_told_to_stop() {
    let mut server = Running::start(echo()).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut idle = server.connect().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(server.stop.take());

    let (mut answer, mut nothing) = (String::new(), Vec::new());
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
    assert_eq!(idle.read_to_end(&mut nothing).await.unwrap(), 0);
    assert!(server.tasks.join(Duration::from_secs(5)).await.is_empty());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn serves_a_bounded_number_of_connections() {
    let server = Running::start(echo()).await;
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET /query HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }
    let waiting = server.get("/query");
    let mut waiting = pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), waiting.as_mut())
            .await
            .is_err()
    );
    held.pop();
    assert!(waiting.await.ends_with("none"));
}

#[tokio::test]
async fn serves_readiness() {
    let readiness = Readiness::new();
    let condition = readiness.condition("snapshot");
    let server = Running::start(readiness.mount(Router::new())).await;
    let answer = server.get("/healthz/ready").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("pending:\nsnapshot\n"),
        "{answer}"
    );
    condition.met();
    assert!(server.get("/healthz/ready").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn says_which_address_is_taken() {
    let server = Running::start(Router::new()).await;
    let error = HttpServer::bind(server.address, Router::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&server.address.to_string()), "{error}");
}
