//! Builds the kernel programs and hands their object to the crate as `$OUT_DIR/mesh-ebpf`.
//!
//! `MESH_EBPF_OBJECT` names a prebuilt object instead. Otherwise cargo is called with a compiler whose library
//! sources are installed: rustup's nightly, else the distribution's. `cargo xtask setup` installs what is missing.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const OBJECT: &str = "MESH_EBPF_OBJECT";
const TARGET: &str = "bpfel-unknown-none";
/// Full debug information and `--btf`: the kernel wants types of maps and functions.
const RUSTFLAGS: &str = "-Cdebuginfo=2\u{1f}-Clink-arg=--btf";

/// A cargo and a rustc that can build the core library.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As it is: what the compiler said has many lines.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?).join("mesh-ebpf");
    if let Some(object) = env::var_os(OBJECT) {
        println!("cargo::rerun-if-changed={}", Path::new(&object).display());
        return copy(Path::new(&object), &out);
    }
    let manifest =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo did not set CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().ok_or("the crate lies in no workspace")?;
    for source in [
        "mesh-ebpf/src",
        "mesh-ebpf/Cargo.toml",
        "mesh-common/abi/src",
        "mesh-common/abi/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    // One folder for every profile of the workspace: target/<profile>/build/<package>/out/mesh-ebpf.
    let target = out
        .ancestors()
        .nth(5)
        .ok_or("OUT_DIR is not below a target folder")?
        .join("mesh-ebpf");
    let toolchain = toolchain()?;
    let linker = linker(workspace)?;
    println!("cargo::rerun-if-changed={}", linker.join("bpf-linker").display());
    build(workspace, &toolchain, &linker, &target)?;
    copy(&target.join(TARGET).join("release/mesh-ebpf"), &out)
}

fn copy(object: &Path, out: &Path) -> Result<(), String> {
    fs::copy(object, out)
        .map(drop)
        .map_err(|e| format!("copy {} to {}: {e}", object.display(), out.display()))
}

fn build(workspace: &Path, toolchain: &Toolchain, linker: &Path, target: &Path) -> Result<(), String> {
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .current_dir(workspace.join("mesh-ebpf"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "mesh-ebpf",
            "-Zbuild-std=core",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target);
    // What the outer cargo says of its own compiler must not reach the inner one.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let foreign = text.starts_with("CARGO") && text != "CARGO_HOME"
            || text.starts_with("RUST") && text != "RUSTUP_HOME"
            || text.starts_with("DEP_")
            || [
                "CLIPPY_ARGS",
                "CLIPPY_CONF_DIR",
                "LD_LIBRARY_PATH",
                "MAKEFLAGS",
                "MFLAGS",
            ]
            .contains(&&*text);
        if foreign {
            cargo.env_remove(&name);
        }
    }
    let mut path = OsString::from(linker);
    if let Some(outer) = env::var_os("PATH") {
        path.push(":");
        path.push(outer);
    }
    let output = cargo
        .env("PATH", path)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS)
        .output()
        .map_err(|e| format!("run {}: {e}", toolchain.cargo.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "the kernel programs do not build with {} and {}:\n{}",
        toolchain.cargo.display(),
        toolchain.rustc.display(),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The first toolchain that has the library's sources.
fn toolchain() -> Result<Toolchain, String> {
    let mut tried = Vec::new();
    for candidate in [rustup(), Some(distribution())] {
        let Some(candidate) = candidate else { continue };
        match sysroot(&candidate.rustc) {
            Some(root) if root.join("lib/rustlib/src/rust/library/core").is_dir() => return Ok(candidate),
            Some(root) => {
                tried.push(format!(
                    "  {}: no library sources below {}\n",
                    candidate.rustc.display(),
                    root.display()
                ));
            }
            None => {
                tried.push(format!("  {}: does not run\n", candidate.rustc.display()));
            }
        }
    }
    Err(format!(
        "no compiler for the kernel programs: run `cargo xtask setup`, or name a prebuilt object in {OBJECT}.\n\
         Tried:\n{tried}Wanted: `rustup toolchain install nightly --component rust-src`, or the distribution's rustc \
         with its sources (Debian: rustc-web rust-web-src cargo-web).",
        tried = tried.concat()
    ))
}

/// rustup's nightly, called directly: its proxies would be told to use the outer toolchain.
fn rustup() -> Option<Toolchain> {
    let which = |tool: &str| {
        let output = Command::new("rustup")
            .args(["which", "--toolchain", "nightly", tool])
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    };
    Some(Toolchain {
        cargo: which("cargo")?,
        rustc: which("rustc")?,
    })
}

fn distribution() -> Toolchain {
    Toolchain {
        cargo: PathBuf::from("/usr/bin/cargo"),
        rustc: PathBuf::from("/usr/bin/rustc"),
    }
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The folder that holds bpf-linker: the workspace's cache, else a folder of PATH.
fn linker(workspace: &Path) -> Result<PathBuf, String> {
    let cache = workspace.join(".cache/bpf-linker/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(cache)
        .chain(env::split_paths(&path))
        .find(|folder| folder.join("bpf-linker").is_file())
        .ok_or_else(|| {
            format!(
                "bpf-linker is neither in .cache/bpf-linker/bin nor on PATH: run `cargo xtask setup`, \
                 or `cargo install bpf-linker`, or name a prebuilt object in {OBJECT}"
            )
        })
}
