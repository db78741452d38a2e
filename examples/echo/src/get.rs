//! The HTTP client: one request after the other, each a line that says what answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::time::duration;

/// How long a request may take, its connection included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MAX_BODY: usize = 1024 * 1024;
/// The port of http without one.
const HTTP_PORT: u16 = 80;

/// Whom to ask, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to ask for, such as `http://10.96.0.4/items`; an address, or a name
    url: Uri,
    /// How many requests
    #[arg(long, default_value_t = 10, conflicts_with = "forever")]
    count: u64,
    /// Go on until killed, failed requests included
    #[arg(long)]
    forever: bool,
    /// Pause between requests: 500ms, 2s
    #[arg(long, default_value = "100ms", value_parser = duration)]
    interval: Duration,
    /// Method
    #[arg(long, default_value = "GET")]
    method: Method,
    /// A header, as `name: value`; may be repeated
    #[arg(long, value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
}

/// A connection, and the task that drives it; it ends with this.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let seen = runtime.block_on(ask(arguments))?;
    println!("{}", summary(&seen));
    let failed = seen
        .iter()
        .filter(|(what, _)| !what.starts_with('2'))
        .map(|(_, count)| count)
        .sum::<u64>();
    ensure!(
        failed == 0,
        "{failed} of {} requests failed",
        seen.values().sum::<u64>()
    );
    Ok(())
}

/// Sends all requests; gives how often there was which status and version.
async fn ask(arguments: &Arguments) -> Result<BTreeMap<String, u64>> {
    let authority = arguments.url.authority().context("the URL has no host")?;
    let address = format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(HTTP_PORT)
    );
    let mut seen = BTreeMap::new();
    let mut connection = None;
    let mut number = 0_u64;
    while arguments.forever || number < arguments.count {
        if number > 0 {
            tokio::time::sleep(arguments.interval).await;
        }
        number += 1;
        let start = Instant::now();
        let asked = timeout(
            DEADLINE,
            one(arguments, authority.as_str(), &address, &mut connection),
        )
        .await;
        let what = match asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {DEADLINE:?}"))) {
            Ok(what) => {
                let mark = if what.starts_with('2') { "" } else { "FAILED: " };
                println!("{number}: {mark}{what}, {:.1?}", start.elapsed());
                what
            }
            Err(error) => {
                connection = None;
                println!("{number}: FAILED: {error:#}");
                "no answer".to_owned()
            }
        };
        *seen.entry(what).or_default() += 1;
    }
    Ok(seen)
}

/// Sends a request; gives the status, and the version and the proxy's reason where the answer has them.
async fn one(
    arguments: &Arguments,
    authority: &str,
    address: &str,
    kept: &mut Option<Connection>,
) -> Result<String> {
    let mut connection = match kept.take() {
        Some(connection) if !connection.sender.is_closed() => connection,
        _ => connect(address).await?,
    };
    let path = arguments.url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(&arguments.method)
        .uri(path)
        .header("host", authority)
        .body(Empty::new())?;
    for (name, value) in &arguments.header {
        request.headers_mut().append(name, value.clone());
    }
    connection.sender.ready().await.context("the connection ended")?;
    let response: Response<Incoming> = connection
        .sender
        .send_request(request)
        .await
        .context("no answer")?;
    let (head, body) = response.into_parts();
    Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    *kept = Some(connection);
    let mut what = head.status.as_u16().to_string();
    for name in ["x-version", "x-mesh-error"] {
        // The proxy's code alone: in words the answer says more.
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(word) = value.and_then(|value| value.split_whitespace().next()) {
            write!(what, " {word}")?;
        }
    }
    Ok(what)
}

async fn connect(address: &str) -> Result<Connection> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok(Connection {
        sender,
        _driver: driver,
    })
}

/// How often there was what, and its share.
fn summary(seen: &BTreeMap<String, u64>) -> String {
    let all: u64 = seen.values().sum();
    let parts = seen
        .iter()
        .map(|(what, count)| format!("{what}: {count} ({} %)", count * 100 / all.max(1)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Reads "name: value".
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("'{text}' is no header such as 'x-group: b'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = value.trim().parse().map_err(|_| wrong())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::http::tests::start;

    fn get(address: SocketAddr, count: u64) -> BTreeMap<String, u64> {
        let arguments = Arguments {
            url: format!("http://{address}/items").parse().unwrap(),
            count,
            forever: false,
            interval: Duration::ZERO,
            method: Method::GET,
            header: vec![header("x-group: b").unwrap()],
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(ask(&arguments)).unwrap()
    }

    fn is(seen: &BTreeMap<String, u64>, what: &str, count: u64) {
        assert_eq!(seen, &BTreeMap::from([(what.to_owned(), count)]));
    }

    #[test]
    fn shows_the_version_that_answers() {
        is(&get(start("v2", 0, Duration::ZERO), 5), "200 v2", 5);
    }

    #[test]
    fn a_server_fails_as_often_as_it_is_told() {
        is(&get(start("v1", 100, Duration::ZERO), 5), "503 v1", 5);
        let some = get(start("v1", 30, Duration::ZERO), 500);
        let failed = some["503 v1"];
        assert!((100..200).contains(&failed), "{failed} of 500");
    }

    #[test]
    fn a_server_dawdles_as_it_is_told() {
        let start_of_test = Instant::now();
        is(&get(start("v1", 0, Duration::from_millis(100)), 2), "200 v1", 2);
        assert!(start_of_test.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn no_answer_is_a_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        is(&get(address, 2), "no answer", 2);
    }

    #[test]
    fn says_shares() {
        let seen = BTreeMap::from([("200 v1".to_owned(), 9), ("200 v2".to_owned(), 1)]);
        assert_eq!(summary(&seen), "200 v1: 9 (90 %), 200 v2: 1 (10 %)");
    }
}
