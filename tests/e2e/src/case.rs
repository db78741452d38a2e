//! A table of requests and what must become of each: at the client, and as the backend sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mesh_harness::Workload;
use serde_json::Value;

use crate::LONG;
use crate::ask::{Answer, Ask, Seen};

/// A route that was just written is in force after this, at most.
const SETTLING: Duration = Duration::from_secs(15);

/// A request and what must become of it. 200 from some backend, unless it says otherwise.
#[derive(Debug, Clone)]
#[must_use]
pub struct Case {
    path: String,
    port: u16,
    change: Vec<Change>,
    expected: Vec<Expected>,
    /// Any of these.
    status: Vec<u16>,
}

#[derive(Debug, Clone)]
enum Change {
    Method(String),
    Header(String),
    Body(String),
    Http2,
}

#[derive(Debug, Clone)]
enum Expected {
    /// It came to this backend.
    Server(String),
    /// A field of what the backend saw; empty is null.
    Field(&'static str, String),
    /// A header that the backend saw.
    Sees(String, String),
    /// One that it did not see.
    Unseen(String),
    /// A header of the answer.
    Header(String, String),
    /// A header of the answer, a list with these members in any order.
    List(String, Vec<String>),
    /// A header of the answer with any of these values.
    OneOf(String, Vec<String>),
    /// A header of the answer, a list with this member.
    Member(String, String),
    /// One that the answer does not have.
    Without(String),
    /// The proxy's own answer, with this response flag; with any when it is empty.
    Cause(&'static str),
    /// The backend saw this body.
    Body(String),
    /// The answer has no body.
    Empty,
    /// The interim answers before it.
    Interim(Vec<u16>),
}

/// Where the requests of a table go: a Service's name and virtual address.
#[derive(Debug, Clone)]
pub struct Target {
    /// As in `http://HOST/`.
    pub host: String,
    /// Where it is.
    pub address: std::net::IpAddr,
}

/// A GET of a path.
pub fn get(path: &str) -> Case {
    Case {
        path: path.to_owned(),
        port: 80,
        change: Vec::new(),
        expected: Vec::new(),
        status: vec![200],
    }
}

// === impl Target ===

impl Target {
    /// So many GETs one after another on one connection, and what the backends saw; an error unless all were answered
    /// by one.
    pub fn many(&self, from: &Workload, count: usize) -> Result<Vec<Seen>> {
        self.many_with(from, count, &[])
    }

    /// The same, with more of curl's options.
    pub fn many_with(&self, from: &Workload, count: usize, options: &[&str]) -> Result<Vec<Seen>> {
        let text = self.range(from, count, options)?;
        let seen = Seen::all(&text);
        if seen.len() != count {
            bail!(
                "{} of {count} requests were answered by a backend:\n{text}",
                seen.len()
            );
        }
        Ok(seen)
    }

    /// So many GETs one after another on one connection: for each the backend's name, or the status that the proxy
    /// answered with.
    pub fn outcomes(&self, from: &Workload, count: usize) -> Result<Vec<String>> {
        let text = self.range(from, count, &[])?;
        let outcome = |line: &str| {
            let value: Value = serde_json::from_str(line).ok()?;
            let server = value["server"].as_str().map(str::to_owned);
            server.or_else(|| value["status"].as_u64().map(|status| status.to_string()))
        };
        let outcomes: Vec<String> = text.lines().filter_map(outcome).collect();
        if outcomes.len() != count {
            bail!("{} answers to {count} requests:\n{text}", outcomes.len());
        }
        Ok(outcomes)
    }

    fn range(&self, from: &Workload, count: usize, options: &[&str]) -> Result<String> {
        let Self { host, address } = self;
        let resolve = format!("{host}:80:{address}");
        let curl = from.place.program("curl")?.args(["-sS", "--max-time", "50"]);
        let curl = curl.args(["--resolve", &resolve]).args(options);
        let curl = curl.arg(format!("http://{host}/[1-{count}]"));
        Ok(curl.run(LONG)?.success()?.text())
    }
}

// === impl Case ===

impl Case {
    /// Another method.
    pub fn method(mut self, method: &str) -> Self {
        self.change.push(Change::Method(method.to_owned()));
        self
    }

    /// A header, as `name: value`.
    pub fn with(mut self, header: &str) -> Self {
        self.change.push(Change::Header(header.to_owned()));
        self
    }

    /// A body.
    pub fn body(mut self, body: &str) -> Self {
        self.change.push(Change::Body(body.to_owned()));
        self
    }

    /// Over HTTP/2.
    pub fn http2(mut self) -> Self {
        self.change.push(Change::Http2);
        self
    }

    /// To another port than 80.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The status of the answer.
    pub fn is(self, status: u16) -> Self {
        self.is_one_of(&[status])
    }

    /// Statuses that the answer may have.
    pub fn is_one_of(mut self, statuses: &[u16]) -> Self {
        self.status = statuses.to_vec();
        self
    }

    /// Answered by this backend.
    pub fn reaches(self, server: &str) -> Self {
        self.expect(Expected::Server(server.to_owned()))
    }

    /// The backend sees this path.
    pub fn path(self, path: &str) -> Self {
        self.expect(Expected::Field("path", path.to_owned()))
    }

    /// The backend sees this query; empty: none.
    pub fn query(self, query: &str) -> Self {
        self.expect(Expected::Field("query", query.to_owned()))
    }

    /// The backend sees this host.
    pub fn host(self, host: &str) -> Self {
        self.expect(Expected::Field("host", host.to_owned()))
    }

    /// The backend is spoken to in this version: `HTTP/1.1` or `HTTP/2.0`.
    pub fn version(self, version: &str) -> Self {
        self.expect(Expected::Field("protocol", version.to_owned()))
    }

    /// The backend sees a header with this value; several are joined by a comma.
    pub fn sees(self, name: &str, value: &str) -> Self {
        self.expect(Expected::Sees(name.to_owned(), value.to_owned()))
    }

    /// The backend does not see the header.
    pub fn unseen(self, name: &str) -> Self {
        self.expect(Expected::Unseen(name.to_owned()))
    }

    /// The answer has a header with this value; several are joined by a comma.
    pub fn has(self, name: &str, value: &str) -> Self {
        self.expect(Expected::Header(name.to_owned(), value.to_owned()))
    }

    /// The answer has a header that is a list of these, in any order and any case.
    pub fn has_list(self, name: &str, members: &[&str]) -> Self {
        self.expect(Expected::List(name.to_owned(), owned(members)))
    }

    /// The answer has a header that is a list with this among its members, in any case.
    pub fn has_in(self, name: &str, member: &str) -> Self {
        self.expect(Expected::Member(name.to_owned(), member.to_owned()))
    }

    /// The answer has a header with one of these values.
    pub fn has_one_of(self, name: &str, values: &[&str]) -> Self {
        self.expect(Expected::OneOf(name.to_owned(), owned(values)))
    }

    /// The backend saw this body.
    pub fn body_was(self, body: &str) -> Self {
        self.expect(Expected::Body(body.to_owned()))
    }

    /// The answer has no body.
    pub fn is_empty(self) -> Self {
        self.expect(Expected::Empty)
    }

    /// The statuses of the interim answers before it.
    pub fn interim(self, statuses: &[u16]) -> Self {
        self.expect(Expected::Interim(statuses.to_vec()))
    }

    /// It was the backend's so manieth request with this key.
    pub fn turn(self, turn: u32) -> Self {
        self.expect(Expected::Field("turn", turn.to_string()))
    }

    /// The proxy's own answer, whatever its cause.
    pub fn cause_is_named(self) -> Self {
        self.expect(Expected::Cause(""))
    }

    /// The answer does not have the header.
    pub fn lacks(self, name: &str) -> Self {
        self.expect(Expected::Without(name.to_owned()))
    }

    /// A redirect to this.
    pub fn redirects(self, status: u16, location: &str) -> Self {
        self.is(status).has("location", location)
    }

    /// The proxy's own answer, with this response flag.
    pub fn fails(self, status: u16, flag: &'static str) -> Self {
        self.is(status).expect(Expected::Cause(flag))
    }

    fn expect(mut self, expected: Expected) -> Self {
        self.expected.push(expected);
        self
    }

    /// The request, to a Service. `{unique}` in a header becomes a number that no other request has.
    pub fn ask(&self, target: &Target) -> Ask {
        let Target { host, address } = target;
        let port = self.port;
        let url = if port == 80 {
            format!("http://{host}{}", self.path)
        } else {
            format!("http://{host}:{port}{}", self.path)
        };
        let resolve = format!("{host}:{port}:{address}");
        let ask = Ask::get(&url).options(&["--resolve", &resolve]);
        self.change.iter().fold(ask, |ask, change| match change {
            Change::Method(method) => ask.method(method),
            Change::Header(header) => ask.header(&header.replace("{unique}", &unique())),
            Change::Body(body) => ask.body(body),
            Change::Http2 => ask.http2(),
        })
    }

    /// What is not as it must be.
    pub fn wrong(&self, answer: &Answer) -> Vec<String> {
        let mut wrong = Vec::new();
        if answer.exit != 0 {
            wrong.push(format!("curl failed: {}", answer.error));
        }
        if !self.status.contains(&answer.status) {
            let status = answer.status;
            wrong.push(format!("the status is {status} and not {:?}", self.status));
        }
        let seen = answer.seen();
        wrong.extend(
            self.expected
                .iter()
                .filter_map(|expected| expected.wrong(answer, seen.as_ref())),
        );
        wrong
    }

    fn title(&self, from: &Workload) -> String {
        let changes = self.change.iter().map(|change| match change {
            Change::Method(method) => format!(" {method}"),
            Change::Header(header) => format!(" '{header}'"),
            Change::Body(body) => format!(" body {body:?}"),
            Change::Http2 => " HTTP/2".to_owned(),
        });
        let changes: String = changes.collect();
        format!("{} asks :{} {}{changes}", from.name, self.port, self.path)
    }
}

/// A number that no other request of this process has.
fn unique() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed).to_string()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// The members of a header that is a list, in lower case and sorted.
fn members(value: &str) -> Vec<String> {
    let mut members: Vec<String> = value
        .split(',')
        .map(|member| member.trim().to_ascii_lowercase())
        .collect();
    members.sort_unstable();
    members
}

impl Expected {
    fn wrong(&self, answer: &Answer, seen: Option<&Seen>) -> Option<String> {
        let (what, wanted, got) = match self {
            Self::Server(name) => (
                "the backend".to_owned(),
                Some(name.clone()),
                seen.map(|seen| seen.server().to_owned()),
            ),
            Self::Field(field, value) => (
                format!("the {field} that the backend saw"),
                Some(value.clone()),
                seen.map(|seen| seen.field(field)),
            ),
            Self::Body(body) => (
                "the body that the backend saw".to_owned(),
                Some(body.clone()),
                seen.and_then(|seen| Some(seen.0["body"]["text"].as_str()?.to_owned())),
            ),
            Self::Sees(name, value) => (
                format!("the {name} that the backend saw"),
                Some(value.clone()),
                seen.and_then(|seen| seen.header(name)),
            ),
            Self::Unseen(name) => (
                format!("the {name} that the backend saw"),
                None,
                seen.map_or_else(|| Some("(no backend)".to_owned()), |seen| seen.header(name)),
            ),
            Self::Header(name, value) => (
                format!("the answer's {name}"),
                Some(value.clone()),
                answer.header(name),
            ),
            Self::Empty => {
                let bytes = answer.body.len();
                return (bytes > 0).then(|| format!("the answer has a body of {bytes} bytes"));
            }
            Self::Interim(wanted) => {
                let got = &answer.interim;
                return (got != wanted).then(|| format!("interim answers are {got:?} and not {wanted:?}"));
            }
            Self::List(name, wanted) => {
                let got = answer.header(name);
                let is_right = got
                    .as_deref()
                    .is_some_and(|got| members(got) == members(&wanted.join(",")));
                return (!is_right)
                    .then(|| format!("the answer's {name} is {got:?} and not a list of {wanted:?}"));
            }
            Self::Member(name, wanted) => {
                let got = answer.header(name);
                let is_right = got.as_deref().is_some_and(|got| members(got).contains(wanted));
                return (!is_right).then(|| format!("the answer's {name} is {got:?}, without {wanted:?}"));
            }
            Self::OneOf(name, wanted) => {
                let got = answer.header(name);
                let is_right = got.as_ref().is_some_and(|got| wanted.contains(got));
                return (!is_right).then(|| format!("the answer's {name} is {got:?} and none of {wanted:?}"));
            }
            Self::Without(name) => (format!("the answer's {name}"), None, answer.header(name)),
            Self::Cause(flag) => {
                let got = answer.header("x-mesh-error").unwrap_or_default();
                let code = got.split(' ').next().unwrap_or_default();
                let is_right = if flag.is_empty() {
                    !code.is_empty()
                } else {
                    code == *flag
                };
                return (!is_right)
                    .then(|| format!("the cause that the proxy names is {got:?} and not {flag:?}"));
            }
        };
        (wanted != got).then(|| format!("{what} is {got:?} and not {wanted:?}"))
    }
}

/// Asks everything, from each client. The first case may need some time until its route is in force; every other one
/// holds at once.
pub fn check(target: &Target, clients: &[&Workload], cases: &[Case]) -> Result<()> {
    let mut failures = Vec::new();
    for client in clients {
        for (number, case) in cases.iter().enumerate() {
            let ask = case.ask(target);
            let end = Instant::now() + if number == 0 { SETTLING } else { Duration::ZERO };
            let mut answer = ask.send(client)?;
            while !case.wrong(&answer).is_empty() && Instant::now() < end {
                answer = ask.send(client)?;
            }
            let wrong = case.wrong(&answer);
            if !wrong.is_empty() {
                let wrong = wrong.join("\n    ");
                let body = answer.text();
                let body: String = body.chars().take(600).collect();
                failures.push(format!(
                    "{}\n    {wrong}\n    answer: {} {:?} {body}",
                    case.title(client),
                    answer.status,
                    answer.headers
                ));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} of the cases:\n{}", failures.len(), failures.join("\n"))
}
