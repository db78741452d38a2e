//! Interim answers (1xx) on their way from an endpoint to the client, and request bodies that wait for one.
//!
//! A client that expects `100 Continue` sends its body when it is told to (RFC 9110 §10.1.1). Towards the endpoint the
//! body is held until the endpoint says so, has answered without it, or has said nothing for a while: then it knows no
//! expectations. A client in HTTP/1 is told by hyper as soon as its body is read; one in HTTP/2 by [`Interim`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

/// How long an endpoint may keep silent about an expectation (curl's value).
const SILENCE: Duration = Duration::from_secs(1);
/// Interim answers that wait for the client to take them; more are left out.
const MAX_WAITING: usize = 8;

/// Where interim answers for a client go. In a request's extensions, where the client can be told.
#[derive(Debug, Clone)]
pub struct Interim(mpsc::Sender<Response<()>>);

/// Holds a request's body back.
#[derive(Debug)]
pub struct Gate {
    is_open: AtomicBool,
    waker: AtomicWaker,
    client: Option<Interim>,
}

/// One body's wait at a gate.
#[derive(Debug)]
pub struct Wait {
    gate: Arc<Gate>,
    silence: Pin<Box<Sleep>>,
}

/// Both ends.
pub(super) fn channel() -> (Interim, mpsc::Receiver<Response<()>>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Interim(sender), receiver)
}

// === impl Interim ===

impl Interim {
    /// Passes one on. Without room it is left out: it promises nothing.
    pub fn send(&self, answer: Response<()>) {
        if self.0.try_send(answer).is_err() {
            tracing::debug!("an interim answer was left out");
        }
    }
}

// === impl Gate ===

impl Gate {
    /// A closed gate. The client is told to go on when it opens.
    pub fn new(client: Option<Interim>) -> Arc<Self> {
        Arc::new(Self {
            is_open: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            client,
        })
    }

    /// Lets the body through.
    pub fn open(&self) {
        if self.is_open.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(client) = &self.client {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::CONTINUE;
            client.send(answer);
        }
        self.waker.wake();
    }

    /// A body's wait.
    pub fn wait(self: &Arc<Self>) -> Wait {
        Wait {
            gate: Arc::clone(self),
            silence: Box::pin(sleep(SILENCE)),
        }
    }
}

// === impl Wait ===

impl Wait {
    /// Ready when the body may go on.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.gate.waker.register(context.waker());
        if self.silence.as_mut().poll(context).is_ready() {
            self.gate.open();
        }
        if self.gate.is_open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
