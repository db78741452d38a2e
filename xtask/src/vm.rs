//! `cargo xtask vm`: the checks of the kernel side on kernels older than this machine's, each booted under qemu.
//!
//! A kernel comes from Debian's archive and is kept in `.cache/vm`. Its initramfs holds busybox, the smoke program and
//! the libraries this needs. Emulated (TCG) on one CPU: slow, but the same everywhere. The result is read from the
//! serial console, so a guest that hangs, panics or powers off early counts as a failure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::{self, Purpose};
use crate::{command, workspace};

/// Debian 12's own kernel, and the one that its backports have.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// This machine's kernel, without a virtual machine.
const HOST: &str = "host";
/// The checks take about a minute under emulation on a free core.
const BOOT_DEADLINE: Duration = Duration::from_mins(10);
/// A download of 35 MB, or a build from nothing.
const STEP_DEADLINE: Duration = Duration::from_mins(20);
/// A boot fails now and then under emulation (an early oops): once more then, no more.
const BOOTS: u32 = 2;
/// The checks' maps need about 60 MB.
const MEMORY: &str = "768";
/// What the guest says when user space runs, and when the program has ended.
const STARTED: &str = "nodemesh-vm: started";
const ENDED: &str = "nodemesh-vm: exit ";
/// Where the statistics are recorded.
const STATISTICS: &str = "mesh-ebpf/verifier-stats.toml";
/// Lines of the console that may wait to be shown.
const LINES: usize = 1024;
const EXAMPLES: &str = "Examples:
  cargo xtask vm                          # every older kernel
  cargo xtask vm --kernel 6.1             # one
  cargo xtask vm --kernel 6.1 --record    # record the verifier's statistics instead of checking them
  cargo xtask vm --kernel host --record   # those of this machine's kernel";

/// Which kernels, and what for.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Version of Debian's cloud kernel (6.1, 6.12), or `host`; may be given several times [default: 6.1 6.12]
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Record the verifier's statistics, run no check
    #[arg(long)]
    record: bool,
}

/// What came of one boot.
#[derive(Debug, Default)]
struct Console {
    lines: Vec<String>,
    started: bool,
    exit: Option<i32>,
}

/// What is recorded of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
struct Statistics {
    instructions: u64,
    stack: u64,
}

type Recorded = BTreeMap<String, BTreeMap<String, Statistics>>;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let asked = arguments.kernels.clone();
    let kernels = if asked.is_empty() {
        KERNELS.map(str::to_owned).to_vec()
    } else {
        asked
    };
    setup::ensure(Purpose::Test)?;
    let program = command::step("build the smoke program", smoke_program)?;
    for kernel in kernels {
        let wanted = if arguments.record { "statistics" } else { "" };
        let lines = command::step(&format!("kernel {kernel}"), || match kernel.as_str() {
            HOST => on_host(&program, wanted),
            _ => in_vm(&kernel, &program, wanted),
        })?;
        if arguments.record {
            record(&lines)?;
        }
    }
    Ok(())
}

fn smoke_program() -> Result<PathBuf> {
    command::run(
        &mut command::cargo(["build", "--locked", "--package", "mesh-vm-smoke"]),
        STEP_DEADLINE,
    )?;
    Ok(workspace::target()?.join("debug/mesh-vm-smoke"))
}

fn on_host(program: &Path, wanted: &str) -> Result<Vec<String>> {
    let output = Command::new(program)
        .args(wanted.split_whitespace())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    ensure!(output.status.success(), "the checks failed: {}", output.status);
    Ok(text.lines().map(str::to_owned).collect())
}

fn in_vm(kernel: &str, program: &Path, wanted: &str) -> Result<Vec<String>> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machines are x86-64 ones: not on this machine"
    );
    let image = kernel_image(kernel)?;
    let initramfs = initramfs(kernel, program, wanted)?;
    for boot in 1..=BOOTS {
        let console = guest(&image, &initramfs)?;
        match console.exit {
            Some(0) => return Ok(console.lines),
            Some(code) => bail!("the checks failed on {kernel} with exit status {code}"),
            None if console.started => bail!("{kernel} ended while the checks ran"),
            None => eprintln!("    {kernel} did not boot ({boot} of {BOOTS})"),
        }
    }
    bail!("{kernel} does not boot; the console is above")
}

/// The kernel's image: from the cache, else from Debian.
fn kernel_image(kernel: &str) -> Result<PathBuf> {
    let cache = workspace::cache().join("vm");
    fs::create_dir_all(&cache)?;
    if let Some(image) = cached(&cache, kernel)? {
        return Ok(image);
    }
    let package = if let Some(package) = package(kernel) {
        package
    } else {
        ensure!(
            command::is_root(),
            "apt knows no cloud kernel {kernel}: run `apt-get update` as root"
        );
        command::run(Command::new("apt-get").args(["-q", "update"]), STEP_DEADLINE)?;
        package(kernel)
            .with_context(|| format!("Debian has no linux-image-{kernel}.*-cloud-amd64-unsigned"))?
    };
    let download = cache.join("download");
    recreate(&download)?;
    let mut apt = Command::new("apt-get");
    apt.current_dir(&download)
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", &package]);
    command::run(&mut apt, STEP_DEADLINE)?;
    let archive = fs::read_dir(&download)?.flatten().map(|entry| entry.path());
    let archive = archive.into_iter().next().context("apt-get downloaded nothing")?;
    let unpacked = download.join("unpacked");
    command::run(
        Command::new("dpkg").arg("-x").args([&archive, &unpacked]),
        STEP_DEADLINE,
    )?;
    // The modules are not used: 100 MB less.
    fs::rename(unpacked.join("boot"), cache.join(&package))?;
    fs::remove_dir_all(&download)?;
    cached(&cache, kernel)?.with_context(|| format!("{package} holds no vmlinuz"))
}

/// The newest cached image of a version.
fn cached(cache: &Path, kernel: &str) -> Result<Option<PathBuf>> {
    let mut images = Vec::new();
    for folder in fs::read_dir(cache)?.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&format!("linux-image-{kernel}.")) {
            continue;
        }
        for file in fs::read_dir(folder.path())?.flatten() {
            if file.file_name().to_string_lossy().starts_with("vmlinuz") {
                images.push((version(&name), file.path()));
            }
        }
    }
    Ok(images.into_iter().max().map(|(_, path)| path))
}

/// Name of the newest package that apt knows.
fn package(kernel: &str) -> Option<String> {
    let pattern = format!(
        "^linux-image-{}\\.[0-9].*-cloud-amd64-unsigned$",
        kernel.replace('.', "\\.")
    );
    let found = command::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = found.lines().filter_map(|line| line.split_whitespace().next());
    names.max_by_key(|name| version(name)).map(str::to_owned)
}

/// The numbers in a name, to compare versions by.
fn version(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Packs busybox, the program, what it is linked with, and an init that runs it and powers off.
fn initramfs(kernel: &str, program: &Path, wanted: &str) -> Result<PathBuf> {
    let cache = workspace::cache().join("vm");
    let root = cache.join(format!("root-{kernel}"));
    recreate(&root)?;
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        fs::create_dir(root.join(folder))?;
    }
    let busybox =
        command::find("busybox").context("busybox is missing: run `cargo xtask setup --for test`")?;
    for (file, name) in [(busybox.as_path(), "busybox"), (program, "mesh-vm-smoke")] {
        fs::copy(file, root.join("bin").join(name)).with_context(|| format!("copy {}", file.display()))?;
        for library in libraries(file) {
            let at = root.join(library.strip_prefix("/")?);
            fs::create_dir_all(at.parent().context("a library has a folder")?)?;
            fs::copy(&library, &at).with_context(|| format!("copy {}", library.display()))?;
        }
    }
    let init = root.join("init");
    fs::write(&init, init_script(wanted))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = cache.join(format!("initramfs-{kernel}.gz"));
    let pack = format!(
        "find . | cpio --quiet -o -H newc | gzip -1 > '{}'",
        archive.display()
    );
    command::run(
        Command::new("sh").current_dir(&root).args(["-e", "-c", &pack]),
        STEP_DEADLINE,
    )?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// Absolute paths in what ldd says; nothing for a static program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = command::output(Command::new("ldd").arg(program)).unwrap_or_default();
    listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// bpffs is left to the program: mounting it is one of the things to check.
fn init_script(wanted: &str) -> String {
    format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
echo '{STARTED}'
/bin/mesh-vm-smoke {wanted}
echo \"{ENDED}$?\"
poweroff -f
"
    )
}

/// Boots once and follows the console to its end or to the deadline.
fn guest(image: &Path, initramfs: &Path) -> Result<Console> {
    let qemu =
        command::find("qemu-system-x86_64").context("qemu is missing: run `cargo xtask setup --for test`")?;
    let mut child = Command::new(qemu)
        // KVM is not asked for: where it is half there (nested hosts), guests hang.
        .args([
            "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEMORY,
        ])
        .args(["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"])
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start qemu")?;
    let output = child.stdout.take().context("qemu has no output")?;
    let (sender, receiver) = sync_channel(LINES);
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let deadline = Instant::now() + BOOT_DEADLINE;
    let mut console = Console::default();
    let outcome = loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => console.take(&line),
            Err(RecvTimeoutError::Disconnected) => break Ok(console),
            Err(RecvTimeoutError::Timeout) => {
                break Err(anyhow::anyhow!(
                    "the guest was not done within {}",
                    command::seconds(BOOT_DEADLINE)
                ));
            }
        }
    };
    // It ends by itself but after a timeout.
    child.kill().ok();
    child.wait()?;
    drop(receiver);
    reader
        .join()
        .map_err(|_| anyhow::anyhow!("the console's reader panicked"))?;
    outcome
}

impl Console {
    fn take(&mut self, line: &str) {
        // The firmware clears the screen: not ours.
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        println!("    | {line}");
        self.started |= line.contains(STARTED);
        if let Some(code) = line.split(ENDED).nth(1) {
            self.exit = code.trim().parse().ok();
        }
        self.lines.push(line);
    }
}

/// Writes what was measured into the record, in place of what is there for that kernel.
fn record(lines: &[String]) -> Result<()> {
    let path = workspace::root().join(STATISTICS);
    let text = fs::read_to_string(&path).with_context(|| format!("read {STATISTICS}"))?;
    let mut recorded: Recorded = toml::from_str(&text).with_context(|| format!("read {STATISTICS}"))?;
    let measured = measured(lines);
    ensure!(!measured.is_empty(), "the program said no statistics");
    recorded.extend(measured);
    fs::write(&path, written(&text, &recorded)?).with_context(|| format!("write {STATISTICS}"))?;
    println!("recorded in {STATISTICS}");
    Ok(())
}

/// Lines `statistics KERNEL PROGRAM INSTRUCTIONS STACK`.
fn measured(lines: &[String]) -> Recorded {
    let mut measured = Recorded::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["statistics", kernel, program, instructions, stack] = words.as_slice() else {
            continue;
        };
        if let (Ok(instructions), Ok(stack)) = (instructions.parse(), stack.parse()) {
            let programs = measured.entry((*kernel).to_owned()).or_default();
            programs.insert((*program).to_owned(), Statistics { instructions, stack });
        }
    }
    measured
}

/// The file anew: its leading comment, then a table for each kernel.
fn written(former: &str, recorded: &Recorded) -> Result<String> {
    let mut text = String::new();
    for line in former.lines().take_while(|line| line.starts_with('#')) {
        writeln!(text, "{line}")?;
    }
    for (kernel, programs) in recorded {
        writeln!(text, "\n[\"{kernel}\"]")?;
        for (program, Statistics { instructions, stack }) in programs {
            writeln!(
                text,
                "{program} = {{ instructions = {instructions}, stack = {stack} }}"
            )?;
        }
    }
    Ok(text)
}

fn recreate(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_wins_by_number() {
        assert!(version("linux-image-6.1.0-56-cloud") > version("linux-image-6.1.0-9-cloud"));
        assert!(version("linux-image-6.12.117+deb12-cloud") > version("linux-image-6.12.99+deb12-cloud"));
    }

    #[test]
    fn the_console_tells_how_it_ended() {
        let mut console = Console::default();
        console.take("[    0.1] Booting");
        assert!(!console.started && console.exit.is_none());
        console.take(STARTED);
        console.take(&format!("{ENDED}3"));
        assert!(console.started && console.exit == Some(3));
    }

    #[test]
    fn a_record_keeps_other_kernels_and_the_comment() {
        let former = "# why\n\n[\"6.1\"]\na = { instructions = 1, stack = 2 }\n";
        let mut recorded: Recorded = toml::from_str(former).unwrap();
        recorded.extend(measured(&["x".to_owned(), "statistics 6.12 b 3 4".to_owned()]));
        let text = written(former, &recorded).unwrap();
        assert_eq!(
            text,
            "# why\n\n[\"6.1\"]\na = { instructions = 1, stack = 2 }\n\n[\"6.12\"]\nb = { instructions = 3, stack = 4 }\n"
        );
        assert_eq!(toml::from_str::<Recorded>(&text).unwrap(), recorded);
    }
}
