//! Connections that have asked once over HTTP/1.1, and then only stay.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// One answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Whoever started this ends it long before.
const STAY: Duration = Duration::from_mins(5);

/// Opens them one after another, says `holding`, and waits to be killed.
pub(crate) async fn run(target: SocketAddr, connections: usize, path: &str) -> Result<()> {
    let mut held = Vec::with_capacity(connections);
    for number in 1..=connections {
        let opened = timeout(DEADLINE, ask(target, path)).await;
        let opened = opened.with_context(|| format!("no answer within {DEADLINE:?}"));
        held.push(opened?.with_context(|| format!("connection {number} of {connections} to {target}"))?);
    }
    println!("holding");
    sleep(STAY).await;
    drop(held);
    Ok(())
}

async fn ask(target: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(target).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        let count = stream.read_buf(&mut bytes).await?;
        ensure!(count > 0, "the server closed the connection");
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is {head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.context("the answer does not say how long it is")? {
            return Ok(stream);
        }
    }
}
