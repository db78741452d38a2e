//! One request, to see that the answer is the right one before thousands are counted.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use mesh_harness::until;

use super::{CALL, GRPC_HEAD, Load};
use crate::plan::Size;

/// Routes and endpoints reach a node within a second or two of the manifest.
const DEADLINE: Duration = Duration::from_secs(20);
/// Of one request.
const REQUEST: &str = "5";

/// A request, and how long its answer should be.
#[derive(Debug)]
pub(super) struct Asked {
    path: String,
    arguments: Vec<String>,
    length: usize,
    /// A line that the head or the trailers should have.
    line: Option<&'static str>,
}

// === impl Asked ===

impl Asked {
    /// Over HTTP/1.1.
    pub(super) fn http1(size: Size) -> Self {
        Self {
            path: super::path_of(size),
            arguments: vec!["--http1.1".to_owned()],
            length: size.bytes(),
            line: None,
        }
    }

    /// Over HTTP/2.
    pub(super) fn http2(size: Size) -> Self {
        Self {
            arguments: vec!["--http2-prior-knowledge".to_owned()],
            ..Self::http1(size)
        }
    }

    /// A call of gRPC.
    pub(super) fn grpc(load: &Load, size: Size) -> Result<Self> {
        let message = load.write_call(size)?;
        let arguments = [
            "--http2-prior-knowledge",
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(format!("@{}", message.display()));
        Ok(Self {
            path: CALL.to_owned(),
            arguments,
            length: size.bytes() + GRPC_HEAD,
            line: Some("grpc-status: 0"),
        })
    }
}

/// Waits until the answer is 200 and as long as it should be.
pub(super) fn check(load: &Load, asked: &Asked) -> Result<()> {
    let mut last = String::new();
    until("the right answer", DEADLINE, || {
        last = ask(load, asked)?;
        Ok((last == format!("200 {}", asked.length)).then_some(()))
    })
    .with_context(|| {
        format!(
            "{} at {} from {}: wanted status 200 and {} bytes, got {last:?}",
            asked.path,
            load.target,
            load.from.name(),
            asked.length
        )
    })
}

/// Status and length of an answer, or what curl says of its lack.
fn ask(load: &Load, asked: &Asked) -> Result<String> {
    let (body, head) = (load.file("body"), load.file("head"));
    for file in [&body, &head] {
        // One of an earlier answer would be taken for this one's.
        fs::write(file, []).with_context(|| format!("write {}", file.display()))?;
    }
    let program = load.from.program("curl")?;
    let program = program.args(["-sS", "-m", REQUEST, "-w", "%{http_code}", "-o"]);
    let program = program.arg(&body).arg("-D").arg(&head).args(&asked.arguments);
    let program = program.arg(format!("http://{}{}", load.target, asked.path));
    let finished = program.run(DEADLINE)?;
    if !finished.status.success() {
        return Ok(finished.stderr);
    }
    let length = fs::metadata(&body)
        .with_context(|| format!("read {}", body.display()))?
        .len();
    let head = fs::read_to_string(&head).with_context(|| format!("read {}", head.display()))?;
    if let Some(line) = asked
        .line
        .filter(|line| !head.lines().any(|has| has.trim() == *line))
    {
        return Ok(format!("no {line} in {head:?}"));
    }
    Ok(format!("{} {length}", finished.text()))
}
