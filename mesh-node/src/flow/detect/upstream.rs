//! The connection to where bytes would go, opened before it is known that it is wanted.

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::until;
use crate::flow::failure::{Failed, Failure};
use crate::net::side::Side;

/// A connection that may be opened.
pub struct Upstream<O> {
    open: Box<dyn Fn() -> BoxFuture<'static, Result<O, Failed>> + Send>,
    /// Whether the client is told at once when it can't be opened.
    is_needed: bool,
    at: Option<Instant>,
    state: State<O>,
}

enum State<O> {
    Unopened,
    Opening(BoxFuture<'static, Result<O, Failed>>),
    Open(O),
    /// It could not be opened, or has broken.
    Failed(Failed),
}

// === impl Upstream ===

impl<O> Upstream<O> {
    /// Opened by `open`, and not yet. If it is needed, that it can't be opened fails the look.
    pub fn new(
        open: impl Fn() -> BoxFuture<'static, Result<O, Failed>> + Send + 'static,
        is_needed: bool,
    ) -> Self {
        Self {
            open: Box::new(open),
            is_needed,
            at: None,
            state: State::Unopened,
        }
    }

    /// Opened at that moment by [`Self::spoken`]; `None`: not by it.
    pub(super) fn open_at(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// The connection, opened if it is not.
    pub async fn opened(self) -> Result<O, Failed> {
        match self.state {
            State::Unopened => (self.open)().await,
            State::Opening(opening) => opening.await,
            State::Open(opened) => Ok(opened),
            State::Failed(failed) => Err(failed),
        }
    }

    /// Whether it is open, or about to be.
    pub fn is_begun(&self) -> bool {
        matches!(self.state, State::Opening(_) | State::Open(_))
    }
}

impl<O: AsMut<Side>> Upstream<O> {
    /// Opens the connection when it is time, and waits for the server to speak on it. May be dropped and called again.
    pub(super) async fn spoken(&mut self) -> Result<(), Failed> {
        loop {
            match &mut self.state {
                State::Unopened => {
                    until(self.at).await;
                    self.state = State::Opening((self.open)());
                }
                State::Opening(opening) => {
                    let result = opening.await;
                    self.state = State::Unopened;
                    match result {
                        Ok(opened) => self.state = State::Open(opened),
                        Err(failed) => self.failed(failed)?,
                    }
                }
                State::Open(opened) => match opened.as_mut().spoken().await {
                    Ok(()) => return Ok(()),
                    Err(source) => {
                        let side = "server";
                        self.failed(Failure::Broken { side, source }.into())?;
                    }
                },
                State::Failed(_) => std::future::pending().await,
            }
        }
    }

    fn failed(&mut self, failed: Failed) -> Result<(), Failed> {
        if self.is_needed {
            return Err(failed);
        }
        self.state = State::Failed(failed);
        Ok(())
    }
}
