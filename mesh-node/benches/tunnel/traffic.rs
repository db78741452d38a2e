//! What goes through: messages that are answered, or bytes in one direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::as_f64;

/// Bytes in one write of bulk, and the most of one read.
const CHUNK: usize = 128 * 1024;
/// Bytes that bulk is counted in.
const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A request and its answer in turn.
    Messages {
        /// Bytes of a request.
        request: usize,
        /// Bytes of its answer.
        answer: usize,
    },
    /// Bytes from the application.
    Down,
    /// Bytes to the application.
    Up,
}

/// What is to be sent, and how much was.
pub(crate) struct Traffic {
    kind: Kind,
    /// Messages, or bytes.
    done: AtomicI64,
    pub(crate) is_over: AtomicBool,
}

// === impl Traffic ===

impl Traffic {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            done: AtomicI64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn done(&self) -> f64 {
        let done = as_f64(self.done.load(Ordering::Relaxed));
        match self.kind {
            Kind::Messages { .. } => done,
            Kind::Down | Kind::Up => done / GIB,
        }
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Messages { .. } => "message",
            Kind::Down | Kind::Up => "GiB",
        }
    }

    async fn swallow(&self, mut stream: TcpStream) {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            self.done
                .fetch_add(i64::try_from(count).unwrap(), Ordering::Relaxed);
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

async fn pour(mut stream: TcpStream) {
    let chunk = vec![7; CHUNK];
    while stream.write_all(&chunk).await.is_ok() {}
}

/// The application.
pub(crate) async fn serve(traffic: Arc<Traffic>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let traffic = Arc::clone(&traffic);
        tokio::spawn(async move {
            match traffic.kind {
                Kind::Messages { request, answer } => respond(stream, request, answer).await,
                Kind::Down => pour(stream).await,
                Kind::Up => traffic.swallow(stream).await,
            }
        });
    }
}

async fn respond(mut stream: TcpStream, request: usize, answer: usize) {
    stream.set_nodelay(true).unwrap();
    let (mut question, answer) = (vec![0; request], vec![7; answer]);
    while stream.read_exact(&mut question).await.is_ok() && stream.write_all(&answer).await.is_ok() {}
}

/// One client.
pub(crate) async fn drive(traffic: Arc<Traffic>, to: SocketAddr) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    match traffic.kind {
        Kind::Messages { request, answer } => {
            let (request, mut answer) = (vec![7; request], vec![0; answer]);
            while !traffic.is_over.load(Ordering::Relaxed) {
                stream.write_all(&request).await.unwrap();
                stream.read_exact(&mut answer).await.unwrap();
                traffic.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        Kind::Down => traffic.swallow(stream).await,
        Kind::Up => pour(stream).await,
    }
}
