//! What the tests run as a workload where no everyday program does it: many connections, held or in bursts.
//!
//! Each request is a GET of `/ok` over HTTP/1.1, and an answer counts only if it is 200 with the body `ok`.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// One GET needs little stack, and a burst is a thousand threads.
const STACK: usize = 128 * 1024;

/// Between attempts after a failure: failures come at once, and a second of them should not fill a log.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);
/// Longest that a test takes to measure what is held.
const HOLD: Duration = Duration::from_mins(2);

/// The test's sign to go on: a file that it makes, named in the environment.
struct Go {
    file: PathBuf,
    end: Instant,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["peer", address] => peer(address.parse()?),
        ["short", address, count] => short(address.parse()?, count.parse()?),
        ["burst", address, count] => burst(address.parse()?, count.parse()?),
        ["hold", address, count] => hold(address.parse()?, count.parse()?),
        ["steady", address, seconds] => steady(address.parse()?, Duration::from_secs(seconds.parse()?)),
        ["outcomes", address, path, seconds] => {
            outcomes(address.parse()?, path, Duration::from_secs(seconds.parse()?))
        }
        ["greeting", address, count] => greeting(address.parse()?, count.parse()?),
        ["topology"] => topology(),
        _ => bail!(
            "usage: mesh-probe peer ADDR | short|burst|hold|greeting ADDR COUNT | steady ADDR SECONDS | \
             outcomes ADDR PATH SECONDS | topology"
        ),
    }
}

/// Prints what getpeername(2) and getsockname(2) say of a connection.
fn peer(address: SocketAddr) -> Result<()> {
    let stream = connect(address)?;
    println!("{} {}", stream.peer_addr()?, stream.local_addr()?);
    Ok(())
}

/// Connections one after another, a request on each.
fn short(address: SocketAddr, count: usize) -> Result<()> {
    let start = Instant::now();
    let mut slowest = (Duration::ZERO, 0);
    for number in 0..count {
        let begun = Instant::now();
        let mut stream = connect(address).with_context(|| format!("connection {number}"))?;
        request(&mut stream, true).with_context(|| format!("request on connection {number}"))?;
        slowest = slowest.max((begun.elapsed(), number));
    }
    println!(
        "ok {count} in {:?}, the slowest (number {}) in {:?}",
        start.elapsed(),
        slowest.1,
        slowest.0
    );
    Ok(())
}

/// Connections one after another, on each of which the server speaks first. Prints the median of the times from the start of
/// the connect to the first byte, in microseconds.
fn greeting(address: SocketAddr, count: usize) -> Result<()> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let begun = Instant::now();
        let mut stream = connect(address).with_context(|| format!("connection {number}"))?;
        let read = stream
            .read(&mut [0; 256])
            .with_context(|| format!("greeting on connection {number}"))?;
        if read == 0 {
            bail!("connection {number} ended without a greeting");
        }
        times.push(begun.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("{}", times.get(count / 2).context("no connection was asked for")?);
    Ok(())
}

/// Connections all at the same time, a request on each once all are there.
fn burst(address: SocketAddr, count: usize) -> Result<()> {
    let barrier = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || -> Result<()> {
                    barrier.wait();
                    let stream = connect(address);
                    barrier.wait();
                    request(&mut stream?, true)
                })
        })
        .collect::<io::Result<_>>()?;
    let mut failures = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{error:#}")),
            Err(_) => failures.push("panicked".to_owned()),
        }
    }
    if let Some(first) = failures.first() {
        bail!("{} of {count} failed, one of them: {first}", failures.len());
    }
    println!("ok {count}");
    Ok(())
}

/// Opens connections with a request on each, holds them until standard input says so, and asks once more on each.
fn hold(address: SocketAddr, count: usize) -> Result<()> {
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = connect(address).with_context(|| format!("connection {number}"))?;
        request(&mut stream, false).with_context(|| format!("request on connection {number}"))?;
        streams.push(stream);
    }
    println!("holding {count}");
    let mut go = Go::new(HOLD)?;
    while !go.is_given()? {
        thread::sleep(Duration::from_millis(20));
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        request(stream, false).with_context(|| format!("second request on connection {number}"))?;
    }
    println!("alive {count}");
    Ok(())
}

/// Requests without a pause until the test says so: half on one connection that stays, half on fresh ones.
fn steady(address: SocketAddr, limit: Duration) -> Result<()> {
    let mut go = Go::new(limit)?;
    let mut kept = connect(address)?;
    let mut count = 0_u64;
    while !go.is_given()? {
        request(&mut kept, false).with_context(|| format!("request {count} on the connection that stays"))?;
        let mut fresh = connect(address).with_context(|| format!("fresh connection {count}"))?;
        request(&mut fresh, true).with_context(|| format!("request on fresh connection {count}"))?;
        count += 1;
    }
    println!("ok {count}");
    Ok(())
}

/// Requests on fresh connections until the test says so, whatever becomes of them. Prints each run of equal outcomes
/// at its end: when it began and ended, in milliseconds since 1970, how long it was, and the outcome.
fn outcomes(address: SocketAddr, path: &str, limit: Duration) -> Result<()> {
    let mut go = Go::new(limit)?;
    let mut run: Option<(u128, u128, u64, String)> = None;
    loop {
        let is_over = go.is_given()?;
        let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let outcome = attempt(address, path).unwrap_or_else(|failure| failure);
        let is_failure = !outcome.starts_with("ok ");
        match &mut run {
            Some((_, last, count, same)) if *same == outcome => {
                *last = begun;
                *count += 1;
            }
            _ => {
                if let Some((first, last, count, outcome)) = run.replace((begun, begun, 1, outcome)) {
                    println!("run {first} {last} {count} {outcome}");
                }
            }
        }
        if is_over {
            break;
        }
        if is_failure {
            thread::sleep(FAILURE_PAUSE);
        }
    }
    if let Some((first, last, count, outcome)) = run {
        println!("run {first} {last} {count} {outcome}");
    }
    println!("over");
    Ok(())
}

/// One request on a connection of its own: the answer's body, or where and how it failed.
fn attempt(address: SocketAddr, path: &str) -> std::result::Result<String, String> {
    let failed = |place: &'static str| move |error: io::Error| format!("{place} {:?}", error.kind());
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).map_err(failed("connect"))?;
    stream
        .set_read_timeout(Some(DEADLINE))
        .map_err(failed("prepare"))?;
    let text = format!("GET {path} HTTP/1.0\r\nhost: probe\r\n\r\n");
    stream.write_all(text.as_bytes()).map_err(failed("write"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed("read"))?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(format!("ok {}", body.trim())),
        Some((head, _)) => Err(format!("answer {}", head.lines().next().unwrap_or_default())),
        None => Err("read UnexpectedEof".to_owned()),
    }
}

/// A topology that lives until this process is killed.
fn topology() -> Result<()> {
    let mut topology = mesh_harness::Topology::new()?;
    let node = topology.add_node("node-a")?;
    let pod = topology.add_pod(&node, "pod")?;
    std::fs::create_dir_all(topology.pins("node-a"))?;
    let _sleeper = pod.place.program("sleep")?.arg("300").spawn()?;
    println!("{} {}", topology.prefix(), topology.folder().display());
    io::stdout().flush()?;
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

impl Go {
    fn new(limit: Duration) -> Result<Self> {
        let file = env::var_os("MESH_PROBE_GO").context("MESH_PROBE_GO names the file that is waited for")?;
        Ok(Self {
            file: file.into(),
            end: Instant::now() + limit,
        })
    }

    fn is_given(&mut self) -> Result<bool> {
        if Instant::now() > self.end {
            bail!("nobody made {}", self.file.display());
        }
        Ok(self.file.exists())
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).context("connect")?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(stream: &mut TcpStream, last: bool) -> Result<()> {
    let connection = if last { "close" } else { "keep-alive" };
    let text = format!("GET /ok HTTP/1.1\r\nhost: probe\r\nconnection: {connection}\r\n\r\n");
    stream.write_all(text.as_bytes()).context("write")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if end.is_some_and(|end| answer.len() >= end + 6) {
            break;
        }
        let read = stream.read(&mut buffer).context("read")?;
        if read == 0 {
            bail!("the connection ended after {} bytes", answer.len());
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    if !answer.starts_with(b"HTTP/1.1 200") || !answer.ends_with(b"\r\n\r\nok") {
        bail!("unexpected answer: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
