//! What a connection speaks: as declared, or told from its first bytes and from who sends them.
//!
//! The client's bytes are looked at and left where they are, so that whoever serves the connection reads them all. In
//! many protocols the server speaks first (MySQL, SMTP, SSH), and a look that waits for the client would wait for ever.
//! So when the client of an undeclared port says nothing for [`GRACE`], the connection to the endpoint is opened that
//! would be opened for bytes; if the server speaks on it, bytes it is. Clients of HTTP send at once: they have no
//! connection opened that nobody uses. Where the server spoke first the last time, it is asked at once; where the client
//! did, it is given more time ([`KNOWN_GRACE`]), for on a busy machine a client may be slow to go on.
//!
//! Where routes send requests elsewhere than connections go, that endpoint may be one that shall get nothing. There the
//! pause is [`ROUTED_GRACE`]: what speaks HTTP has spoken by then, and a server that speaks first is slow to connect to
//! and no more. That the endpoint can't be had fails nothing there, for requests may well be served.
//!
//! A connection over which nobody says anything waits, with neither a buffer nor a thread, until its idle timeout.

mod first;
mod upstream;

use std::time::Duration;

use mesh_http::detect::{self, Detected, Likely};
use mesh_model::AppProtocol;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

pub use self::upstream::Upstream;

use self::first::First;
use super::failure::{Failed, Failure};
use super::plan::habit;
use super::plan::{Plan, Rules};
use crate::l7::server::Version;
use crate::net::side::Side;

/// How long a client may be silent until the server is asked. On one machine a client's first bytes follow its connect()
/// by some 50 µs; tokio's clock makes 0.5 to 1.5 ms of it.
const GRACE: Duration = Duration::from_micros(500);
/// The same where the client spoke first the last time. A server that speaks first where none did before pays it once.
const KNOWN_GRACE: Duration = Duration::from_millis(20);
/// The same where routes are in force. A client across a slow link has sent its request by then.
const ROUTED_GRACE: Duration = Duration::from_millis(100);
/// How long the next bytes are waited for when those that are there look like the beginning of something that is known.
/// As long as a client of HTTP is given for its head by most servers.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same when they look like nothing in particular, such as the four letters of ZooKeeper's commands: its client
/// waits for an answer. A request line with a method that nobody registered may be cut in two, but not paused in.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// What is to be told from the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it is bytes.
    Nothing,
    /// Which HTTP it is; that it is HTTP is declared, and what is not is refused by the server of HTTP.
    Version,
    /// The server name, for TLSRoutes.
    ServerName,
    /// Everything.
    Everything {
        /// How long the client may be silent.
        grace: Duration,
    },
}

/// What a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speech {
    /// HTTP.
    Http(Version),
    /// Bytes; for TLS with the server name that the client asks for.
    Bytes {
        /// In lower case.
        server_name: Option<String>,
    },
}

/// What became of a look.
#[derive(Debug)]
pub struct Seen {
    /// What is spoken.
    pub speech: Speech,
    /// How that was told: a label of metrics.
    pub outcome: &'static str,
    /// Whether the connection is to be registered anew ([`crate::net::socket::rearm`]) before it is read.
    pub is_stale: bool,
}

/// What bytes are good for.
#[derive(Debug)]
enum Judgement {
    Told(Speech, &'static str),
    /// More are needed.
    Untold(Likely),
}

// === impl Seen ===

impl Seen {
    /// Who spoke first, if anybody said enough.
    pub fn first(&self) -> Option<habit::First> {
        match self.outcome {
            "server_first" => Some(habit::First::Server),
            "http1" | "http2" | "tls" | "opaque" => Some(habit::First::Client),
            _ => None,
        }
    }
}

// === impl Look ===

impl Look {
    /// What is to be told at a port. Routes of a kind declare the protocol better than the port does.
    pub fn at(plan: &Plan) -> Self {
        match &plan.rules {
            Rules::Tcp(_) => return Self::Nothing,
            Rules::Tls(rules) if rules.iter().all(|rule| rule.server_names.is_empty()) => {
                return Self::Nothing;
            }
            Rules::Tls(_) => return Self::ServerName,
            Rules::None | Rules::Http(_) | Rules::Broken(_) => {}
        }
        match plan.port.protocol {
            AppProtocol::Tcp | AppProtocol::Tls => Self::Nothing,
            AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Grpc => Self::Version,
            AppProtocol::Undeclared => Self::Everything {
                grace: match (&plan.rules, plan.habit.get()) {
                    (Rules::None, habit::First::Server) => Duration::ZERO,
                    (Rules::None, habit::First::Unknown) => GRACE,
                    (Rules::None, habit::First::Client) => KNOWN_GRACE,
                    _ => ROUTED_GRACE,
                },
            },
        }
    }

    /// How long the client may be silent before the server is asked; `None`: as long as it likes.
    fn grace(self) -> Option<Duration> {
        match self {
            Self::Everything { grace } => Some(grace),
            Self::Nothing | Self::Version | Self::ServerName => None,
        }
    }

    /// What these bytes, the first of the client's, are good for.
    fn judge(self, bytes: &[u8]) -> Judgement {
        match self {
            Self::Nothing => told("opaque"),
            Self::Version => match detect::is_http2(bytes) {
                Some(is_http2) => http(is_http2),
                None => Judgement::Untold(Likely::Method),
            },
            Self::ServerName => match detect::detect(bytes) {
                Detected::NeedMore => Judgement::Untold(detect::likely(bytes)),
                Detected::Tls { server_name } => Judgement::Told(Speech::Bytes { server_name }, "tls"),
                Detected::Http1 | Detected::Http2 | Detected::Opaque => told("opaque"),
            },
            Self::Everything { .. } => match detect::detect(bytes) {
                Detected::NeedMore => Judgement::Untold(detect::likely(bytes)),
                Detected::Http1 => http(false),
                Detected::Http2 => http(true),
                Detected::Tls { .. } => told("tls"),
                Detected::Opaque => told("opaque"),
            },
        }
    }

    /// What it is when nothing follows these bytes.
    fn conclude(self, likely: Likely) -> (Speech, &'static str) {
        match (self, likely) {
            // The server of HTTP refuses it, or has a deadline of its own for the rest.
            (Self::Version, _) | (Self::Everything { .. }, Likely::Request) => {
                (Speech::Http(Version::Http1), "http1")
            }
            (_, Likely::Tls) => (bytes(), "tls"),
            _ => (bytes(), "undecided"),
        }
    }
}

/// Looks until it can be told what is spoken. Whoever waits for that sets the idle timeout.
///
/// `upstream` is where the connection would go if it were bytes; it is opened when the client is silent. When this
/// returns, it may be open, or about to be.
pub async fn look<O: AsMut<Side>>(
    client: &TcpStream,
    what: Look,
    upstream: &mut Upstream<O>,
) -> Result<Seen, Failed> {
    let mut first = First::new(client);
    let mut likely = None;
    let mut patience = None;
    upstream.open_at(what.grace().map(|grace| Instant::now() + grace));
    loop {
        let judged = tokio::select! {
            // What the client says goes first: it tells more.
            biased;
            judged = first.more(|bytes| what.judge(bytes)) => judged.map_err(|source| Failure::Broken {
                side: "client",
                source,
            })?,
            spoken = upstream.spoken() => {
                spoken?;
                return Ok(first.seen(bytes(), "server_first"));
            }
            () = until(patience) => {
                let (speech, outcome) = what.conclude(likely.unwrap_or(Likely::Anything));
                return Ok(first.seen(speech, outcome));
            }
        };
        match judged {
            Some(Judgement::Told(speech, outcome)) => return Ok(first.seen(speech, outcome)),
            Some(Judgement::Untold(next)) => {
                likely = Some(next);
                let now = Instant::now();
                let is_known = next != Likely::Anything;
                patience = Some(now + if is_known { PATIENCE } else { IMPATIENCE });
                // Bytes that are no request are on their way to where bytes go.
                let is_request = matches!(next, Likely::Method | Likely::Request);
                upstream.open_at((what.grace().is_some() && !is_request).then_some(now));
            }
            // The client has ended its direction: before any byte, or in the middle of what looked like something.
            None => {
                let (speech, outcome) = match likely {
                    Some(likely) => what.conclude(likely),
                    None if what == Look::Version => (Speech::Http(Version::Http1), "half_closed"),
                    None => (bytes(), "half_closed"),
                };
                return Ok(first.seen(speech, outcome));
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn bytes() -> Speech {
    Speech::Bytes { server_name: None }
}

fn told(outcome: &'static str) -> Judgement {
    Judgement::Told(bytes(), outcome)
}

fn http(is_http2: bool) -> Judgement {
    if is_http2 {
        Judgement::Told(Speech::Http(Version::Http2), "http2")
    } else {
        Judgement::Told(Speech::Http(Version::Http1), "http1")
    }
}

#[cfg(test)]
mod tests;
