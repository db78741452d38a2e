//! One request, to see that the answer is the right one before thousands are counted.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_harness::until;

use super::Load;
use crate::plan::Size;

/// Routes and endpoints reach a node within a second or two of the manifest.
const DEADLINE: Duration = Duration::from_secs(20);
/// Of one request.
const REQUEST: &str = "5";

/// Waits until the answer is 200 and as long as it should be.
pub(super) fn check(load: &Load, size: Size, http2: bool) -> Result<()> {
    let mut last = String::new();
    until("the right answer", DEADLINE, || {
        last = ask(load, size, http2)?;
        Ok((last == format!("200 {}", size.bytes())).then_some(()))
    })
    .with_context(|| {
        format!(
            "{} from {}: wanted status 200 and {} bytes, got {last:?}",
            load.url(size),
            load.from.name(),
            size.bytes()
        )
    })
}

/// Status and length of an answer, or what curl says of its lack.
fn ask(load: &Load, size: Size, http2: bool) -> Result<String> {
    let body = load.file("body");
    // One of an earlier answer would be taken for this one's.
    fs::write(&body, []).with_context(|| format!("write {}", body.display()))?;
    let version = if http2 {
        "--http2-prior-knowledge"
    } else {
        "--http1.1"
    };
    let program = load.from.program("curl")?;
    let program = program.args(["-sS", version, "-m", REQUEST, "-w", "%{http_code}", "-o"]);
    let program = program.arg(&body).arg(load.url(size));
    let finished = program.run(DEADLINE)?;
    if !finished.status.success() {
        return Ok(finished.stderr);
    }
    let length = fs::metadata(&body)
        .with_context(|| format!("read {}", body.display()))?
        .len();
    ensure!(finished.stderr.is_empty(), "curl: {}", finished.stderr);
    Ok(format!("{} {length}", finished.text()))
}
