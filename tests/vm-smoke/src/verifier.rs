//! What the verifier says of each program, against what was recorded in `mesh-ebpf/verifier-stats.toml`.
//!
//! The count of verified instructions comes from the loaded program's info. The stack depth stands only in the
//! verifier's log, which aya shows for failures only: so each program is loaded once more by hand with the log's level
//! set to statistics. Growth over [`TOLERANCE`] fails: complexity grows by loops and branches that nobody looks at.
#![expect(unsafe_code, reason = "BPF_PROG_LOAD with a log buffer has no safe wrapper")]

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    mem::size_of,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Map,
    programs::{Program, ProgramInfo},
};
use aya_obj::{
    Object, ProgramSection,
    generated::{bpf_attach_type, bpf_insn, bpf_prog_type},
};
use mesh_abi::program;

/// Recorded growth that passes, in percent.
const TOLERANCE: u64 = 20;
/// Statistics are a few lines.
const LOG_BYTES: usize = 64 * 1024;
/// `BPF_LOG_STATS` of include/linux/bpf_verifier.h.
const LOG_STATS: u32 = 4;
/// `BPF_PROG_LOAD` of `enum bpf_cmd`.
const PROG_LOAD: libc::c_int = 5;
/// What was recorded, by kernel and program.
const RECORDED: &str = include_str!("../../../mesh-ebpf/verifier-stats.toml");

/// Statistics of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Instructions that the verifier walked.
    pub instructions: u64,
    /// Bytes of stack, subprograms added up; the kernel's limit is 512 for a chain of calls.
    pub stack: u64,
}

/// Statistics of every program.
pub type Programs = BTreeMap<String, Statistics>;

/// The part of `union bpf_attr` that BPF_PROG_LOAD needs here.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

/// The kernel as it is recorded: major and minor version.
pub fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut parts = release.split('.');
    let (major, minor) = (
        parts.next().unwrap_or_default(),
        parts.next().context("a release without a minor")?,
    );
    Ok(format!("{major}.{minor}"))
}

/// Loads every program and measures it.
pub fn measure() -> Result<Programs> {
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("AYA_LOG_LEVEL", &0_u8, true)
        .load(mesh_node::capture::object())
        .context("load the object")?;
    let object = relocated(&ebpf)?;
    program::ALL
        .into_iter()
        .map(|name| {
            let instructions = instructions(&mut ebpf, name)?;
            let stack = stack(&object, name).with_context(|| format!("measure the stack of {name}"))?;
            Ok((name.to_owned(), Statistics { instructions, stack }))
        })
        .collect()
}

/// Compares what was measured with what was recorded for this kernel, or for a kernel that was not recorded with the
/// largest of all. Says every program that grew too much.
pub fn compare(kernel: &str, measured: &Programs) -> Result<()> {
    let recorded: BTreeMap<String, Programs> =
        toml::from_str(RECORDED).context("mesh-ebpf/verifier-stats.toml")?;
    let mut grown = Vec::new();
    for (name, now) in measured {
        let of = |programs: &Programs| programs.get(name).copied();
        let known: Vec<Statistics> = match recorded.get(kernel) {
            Some(programs) => of(programs).into_iter().collect(),
            None => recorded.values().filter_map(of).collect(),
        };
        let (Some(instructions), Some(stack)) = (
            known.iter().map(|s| s.instructions).max(),
            known.iter().map(|s| s.stack).max(),
        ) else {
            grown.push(format!("{name} is not recorded for {kernel}"));
            continue;
        };
        for (what, now, before) in [
            ("instructions", now.instructions, instructions),
            ("stack", now.stack, stack),
        ] {
            if now * 100 > before * (100 + TOLERANCE) {
                grown.push(format!("{name}: {before} -> {now} {what}"));
            }
        }
    }
    ensure!(
        grown.is_empty(),
        "the verifier's work grew by more than {TOLERANCE} % ({}); `cargo xtask vm --kernel {kernel} --record` if so wanted",
        grown.join(", ")
    );
    Ok(())
}

fn instructions(ebpf: &mut Ebpf, name: &str) -> Result<u64> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object holds no {name}"))?;
    let info: ProgramInfo = match program {
        Program::CgroupSockAddr(program) => {
            program.load()?;
            program.info()?
        }
        Program::SockOps(program) => {
            program.load()?;
            program.info()?
        }
        _ => bail!("{name} has an unexpected type"),
    };
    Ok(info
        .verified_instruction_count()
        .context("the kernel does not tell (Linux 5.16)")?
        .into())
}

/// The object with its references to maps and functions filled in, as aya does it.
fn relocated(ebpf: &Ebpf) -> Result<Object> {
    let mut object = Object::parse(mesh_node::capture::object())?;
    let mut maps = Vec::new();
    for (name, map) in &object.maps {
        let loaded = ebpf.map(name).with_context(|| format!("no map {name}"))?;
        maps.push((name.clone(), descriptor(loaded)?.as_raw_fd(), map.clone()));
    }
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(
        maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
        &text,
    )?;
    object.relocate_calls(&text)?;
    Ok(object)
}

fn descriptor(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::RingBuf(map)
        | Map::SkStorage(map) => Ok(map.fd().as_fd()),
        other => bail!("a map of a kind that none of ours has: {other:?}"),
    }
}

fn stack(object: &Object, name: &str) -> Result<u64> {
    let program = object.programs.get(name).context("the object does not hold it")?;
    let function = object
        .functions
        .get(&program.function_key())
        .context("the object holds no code of it")?;
    let (kind, attach) = match program.section {
        ProgramSection::CgroupSockAddr { attach_type } => (
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            bpf_attach_type::from(attach_type) as u32,
        ),
        ProgramSection::SockOps => (
            bpf_prog_type::BPF_PROG_TYPE_SOCK_OPS,
            bpf_attach_type::BPF_CGROUP_SOCK_OPS as u32,
        ),
        _ => bail!("an unexpected section"),
    };
    let log = load(kind as u32, attach, &function.instructions)?;
    depth(&log).with_context(|| format!("no stack depth in the verifier's log: {log}"))
}

/// `stack depth 208+16`: one number for each function.
fn depth(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.strip_prefix("stack depth "))?;
    line.trim()
        .split('+')
        .map(|number| number.parse::<u64>().ok())
        .sum()
}

/// Loads a program and gives back the verifier's log; the program goes at once.
fn load(kind: u32, attach: u32, instructions: &[bpf_insn]) -> Result<String> {
    let mut log = vec![0_u8; LOG_BYTES];
    let address = |pointer: *const u8| pointer.expose_provenance() as u64;
    let attr = Load {
        kind,
        count: u32::try_from(instructions.len())?,
        instructions: address(instructions.as_ptr().cast()),
        license: address(c"GPL".as_ptr().cast()),
        log_level: LOG_STATS,
        log_size: u32::try_from(log.len())?,
        log: log.as_mut_ptr().expose_provenance() as u64,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach,
    };
    // SAFETY: the attributes are laid out as the kernel's, with their size; the buffers outlive the call and have the
    // sizes given; the kernel writes to the log only.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<Load>()) };
    let error = io::Error::last_os_error();
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    ensure!(result >= 0, "the kernel refused it: {error}: {text}");
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(result)?) });
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_depth_of_all_functions() {
        let log = "verification time 312 usec\nstack depth 208+0+16\nprocessed 900 insns (limit 1000000)\n";
        assert_eq!(depth(log), Some(224));
        assert_eq!(depth("processed 900 insns\n"), None);
    }

    #[test]
    fn growth_is_told_and_unknown_kernels_meet_the_largest() {
        let recorded: BTreeMap<String, Programs> = toml::from_str(RECORDED).unwrap();
        let (kernel, programs) = recorded.first_key_value().unwrap();
        compare(kernel, programs).unwrap();
        let mut grown = programs.clone();
        for statistics in grown.values_mut() {
            statistics.instructions = statistics.instructions * 121 / 100 + 1;
        }
        assert!(
            compare(kernel, &grown)
                .unwrap_err()
                .to_string()
                .contains("instructions")
        );
        compare("99.0", programs).unwrap();
    }
}
