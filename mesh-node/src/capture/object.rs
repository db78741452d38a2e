//! Loads the kernel programs, with the pinned maps of a former process when there are any.
//!
//! Owns nothing afterwards but descriptors: maps are reached through their pins, programs through [`Programs`].

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use aya::{Ebpf, EbpfLoader, maps::MapInfo, programs::Program};
use mesh_abi::{MAPS, MapLayout, program};

use super::{KernelLog, error::CaptureError};

/// The object that the build script made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh-ebpf"));

/// Ring of the programs' log while it is off: one page, since the map cannot be left out.
const IDLE_LOG_BYTES: u32 = 4096;

/// The loaded programs.
#[derive(Debug)]
pub(super) struct Programs(Vec<(&'static str, OwnedFd)>);

impl Programs {
    /// Descriptor of a program by name.
    pub(super) fn get(&self, name: &'static str) -> Result<BorrowedFd<'_>, CaptureError> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, fd)| fd.as_fd())
            .ok_or_else(|| load_error(name, "the object holds no such program".into()))
    }
}

/// The kernel programs' object as it is embedded, for tools that load it in their own way.
pub fn object() -> &'static [u8] {
    OBJECT
}

/// Loads every program. Missing maps are made and pinned in `maps`; those there are must have the layout of the ABI.
pub(super) fn load(maps: &Path, log: KernelLog) -> Result<(Ebpf, Programs), CaptureError> {
    for layout in &MAPS {
        check(layout, &maps.join(layout.name))?;
    }
    let level = log.level();
    let paths = MAPS.map(|layout| (layout.name, maps.join(layout.name)));
    let mut loader = EbpfLoader::new();
    // The programs read no kernel structure, so the kernel's own types (several MB to parse) are not needed.
    loader.btf(None).override_global(aya_log::LEVEL, &level, true);
    if log == KernelLog::Off {
        loader.map_max_entries("AYA_LOGS", IDLE_LOG_BYTES);
    }
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader.load(OBJECT).map_err(|e| load_error("object", e.into()))?;
    // A map that another process pinned since the check, or that aya made otherwise than the ABI says.
    for layout in &MAPS {
        check(layout, &maps.join(layout.name))?;
    }
    let mut programs = Vec::new();
    for name in program::ALL {
        let fd = load_program(&mut ebpf, name).map_err(|source| load_error(name, source))?;
        programs.push((name, fd));
    }
    Ok((ebpf, Programs(programs)))
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, Box<dyn std::error::Error + Send + Sync>> {
    let program = ebpf.program_mut(name).ok_or("the object holds no such program")?;
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::SockOps(program) => program.load()?,
        _ => return Err("it has an unexpected type".into()),
    }
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

fn load_error(name: &str, source: Box<dyn std::error::Error + Send + Sync>) -> CaptureError {
    CaptureError::Load {
        name: name.to_owned(),
        source,
    }
}

/// Compares a pinned map with the ABI; one that is not there yet is right.
fn check(layout: &MapLayout, path: &Path) -> Result<(), CaptureError> {
    if !path.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(path).map_err(|e| load_error(layout.name, e.into()))?;
    let kind = info.map_type().map_or(0, |kind| kind as u32);
    let found = (kind, info.key_size(), info.value_size(), info.max_entries());
    let expected = (
        layout.kind as u32,
        layout.key_size,
        layout.value_size,
        layout.max_entries,
    );
    if found == expected {
        return Ok(());
    }
    Err(CaptureError::Layout {
        path: path.to_path_buf(),
        found: describe(found),
        expected: describe(expected),
    })
}

fn describe((kind, key, value, entries): (u32, u32, u32, u32)) -> String {
    format!("of type {kind} with keys of {key} bytes, values of {value} bytes and {entries} entries")
}
