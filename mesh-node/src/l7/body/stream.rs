//! A request's body as it comes in a stream of HTTP/2.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Frame, SizeHint};
use mesh_http::guard::{Refusal, request};

use super::BodyError;

/// Most fields of a trailer section.
const MAX_TRAILERS: usize = 100;

pub(super) struct StreamBody {
    stream: RecvStream,
    /// What is to come, if that was said.
    left: Option<u64>,
    has_all_data: bool,
    refused: Arc<OnceLock<Refusal>>,
}

// === impl StreamBody ===

impl StreamBody {
    pub(super) fn new(stream: RecvStream, length: Option<u64>, refused: Arc<OnceLock<Refusal>>) -> Self {
        Self {
            stream,
            left: length,
            has_all_data: false,
            refused,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.has_all_data {
            if let Some(data) = ready!(self.stream.poll_data(context)) {
                let data = data.map_err(BodyError::Stream)?;
                // Whoever takes it has room for it; until then it was part of the window.
                self.stream
                    .flow_control()
                    .release_capacity(data.len())
                    .map_err(BodyError::Stream)?;
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_all_data = true;
        }
        let trailers = ready!(self.stream.poll_trailers(context)).map_err(BodyError::Stream)?;
        Poll::Ready(trailers.map(|trailers| {
            request::check_trailers(&trailers, MAX_TRAILERS).map_err(|refusal| {
                self.refused.get_or_init(|| refusal);
                BodyError::Refused(refusal)
            })?;
            Ok(Frame::trailers(trailers))
        }))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
