//! A client that sends so many bytes and waits for as many, and the server that sends them back.

use anyhow::Result;

use super::{CONTENT, Wire};

pub(super) struct Client {
    wire: Wire,
    answer: Vec<u8>,
}

pub(super) struct Server {
    wire: Wire,
    bytes: Vec<u8>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(wire: Wire) -> Self {
        let answer = Vec::new();
        Self { wire, answer }
    }
}

impl super::Client for Client {
    fn ask(&mut self) -> Result<()> {
        self.answer.clear();
        self.wire.write(&[b'x'; CONTENT])
    }

    fn is_answered(&mut self) -> Result<bool> {
        self.wire.read(&mut self.answer)?;
        Ok(self.answer.len() >= CONTENT)
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(wire: Wire) -> Self {
        let bytes = Vec::new();
        Self { wire, bytes }
    }
}

impl super::Server for Server {
    fn serve(&mut self) -> Result<()> {
        self.wire.read(&mut self.bytes)?;
        self.wire.write(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
