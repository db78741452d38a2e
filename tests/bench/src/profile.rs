//! Where the proxies' time goes: perf's samples under load, as a flame graph, as folded stacks, and as a table of symbols.
//!
//! Samples by the CPU's clock, not by its counters: virtual machines often have none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use mesh_harness::binaries;

use crate::load::Load;

/// Samples a second of each busy thread. No divisor of the kernel's own ticks, so that none is always met.
const FREQUENCY: &str = "997";

/// Someone to be watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Ends the files' names.
    pub name: String,
    /// The process.
    pub process: u32,
}

/// Makes the load once more while perf watches, and writes `<folder>/<key>.<name>.{svg,folded,txt}`.
pub fn record(
    folder: &Path,
    inferno: &Path,
    key: &str,
    watched: &[Watched],
    load: &Load,
    seconds: u32,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let perf = binaries::theirs("perf")?;
    let mut running = Vec::new();
    for one in watched {
        let data = load.folder.join(format!("{}.perf", one.name));
        let mut command = Command::new(&perf);
        command.args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-g", "-o"]);
        command.arg(&data).args(["-p", &one.process.to_string()]);
        command.args(["--", "sleep", &seconds.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null());
        running.push((one, data, child.spawn().context("start perf")?));
    }
    let loaded = load.run(seconds);
    let mut written = Vec::new();
    for (one, data, child) in running {
        finish(child, "perf record")?;
        let base = folder.join(format!("{key}.{}", one.name));
        written.extend(write(&perf, inferno, &data, &base)?);
    }
    loaded?;
    Ok(written)
}

fn write(perf: &Path, inferno: &Path, data: &Path, base: &Path) -> Result<[PathBuf; 3]> {
    let file = |extension: &str| PathBuf::from(format!("{}.{extension}", base.display()));
    let (graph, folded, symbols) = (file("svg"), file("folded"), file("txt"));
    let stacks = data.with_extension("stacks");
    let mut script = Command::new(perf);
    to_file(script.args(["script", "-i"]).arg(data), &stacks)?;
    let mut collapse = Command::new(inferno.join("inferno-collapse-perf"));
    to_file(collapse.arg(&stacks), &folded)?;
    let text = fs::metadata(&folded).with_context(|| format!("read {}", folded.display()))?;
    ensure!(
        text.len() > 0,
        "perf saw nothing of {}: was it under load?",
        base.display()
    );
    let mut draw = Command::new(inferno.join("inferno-flamegraph"));
    let title = base.file_name().unwrap_or_default().to_string_lossy();
    to_file(draw.args(["--title", &title]).arg(&folded), &graph)?;
    let mut report = Command::new(perf);
    report.args(["report", "--no-children", "--stdio", "-g", "none"]);
    to_file(
        report
            .args(["--percent-limit", "0.2", "--sort", "symbol,dso", "-i"])
            .arg(data),
        &symbols,
    )?;
    Ok([graph, folded, symbols])
}

/// Runs a program whose output is a file.
fn to_file(command: &mut Command, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
    let name = Path::new(command.get_program()).display().to_string();
    let errors = path.with_extension("errors");
    let err = File::create(&errors).with_context(|| format!("write {}", errors.display()))?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(err).status();
    let status = status.with_context(|| format!("run {name}"))?;
    let said = fs::read_to_string(&errors).unwrap_or_default();
    fs::remove_file(&errors).with_context(|| format!("remove {}", errors.display()))?;
    if !status.success() {
        bail!("{name}: {status}: {said}");
    }
    Ok(())
}

fn finish(mut child: Child, name: &str) -> Result<()> {
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}
