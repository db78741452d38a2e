//! A gRPC server on tonic: `bench.Bytes/Get` answers a message with as many bytes as the request's text says.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The longest answer that a case wants, and some more.
const MAX: usize = 1024 * 1024;

/// Messages as they are: neither side has a schema.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

/// The service.
#[derive(Debug, Clone)]
struct Answers {
    bytes: Bytes,
}

/// Serves on all addresses until it is killed.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let answers = Answers {
        bytes: vec![b'x'; MAX].into(),
    };
    let at = (Ipv6Addr::UNSPECIFIED, port).into();
    Server::builder().add_service(answers).serve(at).await?;
    Ok(())
}

// === impl Raw ===

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

// === impl Answers ===

impl NamedService for Answers {
    const NAME: &'static str = "bench.Bytes";
}

impl UnaryService<Bytes> for Answers {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let wanted = std::str::from_utf8(request.get_ref()).ok();
        let wanted: Option<usize> = wanted.and_then(|text| text.parse().ok());
        ready(match wanted.filter(|wanted| *wanted <= self.bytes.len()) {
            Some(wanted) => Ok(Response::new(self.bytes.slice(..wanted))),
            None => Err(Status::invalid_argument("a number of bytes, 1 MiB at most")),
        })
    }
}

impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answers = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(answers, request).await) })
    }
}
