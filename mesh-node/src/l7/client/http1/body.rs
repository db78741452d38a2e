//! The body of an answer, read from its connection by whoever polls it; the rest of the request goes out meanwhile.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::decode::{Decoder, Part};
use super::request::Sending;
use super::{Http1, SendFailure, Upgraded};
use crate::l7::body::BodyError;

/// An answer's body, with the connection that it comes over.
#[derive(Debug)]
pub(in crate::l7::client) struct Receiving {
    /// Until it is taken back.
    connection: Option<Box<Http1>>,
    decoder: Decoder,
    /// What is left of the request.
    sending: Option<Box<Sending>>,
    /// Whether the connection may serve another request after this one.
    is_kept: bool,
}

/// What can't be read as a body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Malformed(&'static str);

// === impl Receiving ===

impl Receiving {
    pub(super) fn new(
        connection: Box<Http1>,
        decoder: Decoder,
        sending: Option<Sending>,
        is_kept: bool,
    ) -> Self {
        Self {
            connection: Some(connection),
            decoder,
            sending: sending.map(Box::new),
            is_kept,
        }
    }

    /// The connection, if the exchange is whole: all of the request was sent, and all of its answer read.
    pub(in crate::l7::client) fn reclaim(&mut self) -> Option<Box<Http1>> {
        if self.sending.is_some() {
            return None;
        }
        let is_over = |connection: &mut Box<Http1>| {
            self.decoder.is_over() || (connection.has_ended && self.decoder.may_end())
        };
        let mut connection = self.connection.take_if(is_over)?;
        connection.is_last |= !self.is_kept || !connection.input.is_empty();
        Some(connection)
    }

    /// The connection for another protocol; none while a part of the request is still to be sent on it.
    pub(in crate::l7::client) fn into_upgraded(self) -> Option<Upgraded> {
        let connection = self.connection.filter(|_| self.sending.is_none())?;
        Some(Upgraded(*connection))
    }

    pub(in crate::l7::client) fn is_end_stream(&self) -> bool {
        self.decoder.is_over()
    }

    pub(in crate::l7::client) fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    pub(in crate::l7::client) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        if connection.cut.poll(context) {
            return Poll::Ready(Some(Err(BodyError::other(SendFailure::cut().error))));
        }
        if let Some(sending) = &mut self.sending {
            match sending.poll(&mut connection.io, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.sending = None,
                // The endpoint has answered without the rest; or the client has broken it off, who tells of that himself.
                Poll::Ready(Err(_)) => {
                    self.sending = None;
                    self.is_kept = false;
                }
            }
        }
        loop {
            match self.decoder.next(&mut connection.input) {
                Ok(Part::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Part::End) => return Poll::Ready(None),
                Ok(Part::More) => {}
                Err(what) => return Poll::Ready(Some(Err(BodyError::other(Malformed(what))))),
            }
            match ready!(connection.poll_more(context)) {
                Ok(true) => {}
                Ok(false) if self.decoder.may_end() => return Poll::Ready(None),
                Ok(false) => {
                    let error: io::Error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(BodyError::other(error))));
                }
                Err(error) => return Poll::Ready(Some(Err(BodyError::other(error)))),
            }
        }
    }
}
