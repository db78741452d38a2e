//! The links that attach the programs to cgroups. A workload's links are pinned, so they outlive the process and capture
//! goes on refusing; the proxy's link is not: it ends with the process whose connections it notes.
//!
//! bpffs is the only record: a second start finds the links there and replaces their programs without a gap.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use mesh_abi::program;

use super::{
    bpffs::{self, failed},
    error::CaptureError,
    object::Programs,
    sys,
};

/// A hook and the program for it. `attach` is the kernel's `enum bpf_attach_type`.
struct Hook {
    name: &'static str,
    program: &'static str,
    attach: u32,
}

const SOCK_OPS: u32 = 3;

/// The hooks of a workload in the order of attaching: those that redirect come last and go first, so that no
/// connection is redirected without being published.
const HOOKS: [Hook; 5] = [
    Hook {
        name: "sock_ops",
        program: program::SOCKOPS_WORKLOAD,
        attach: SOCK_OPS,
    },
    Hook {
        name: "getpeername4",
        program: program::GETPEERNAME4,
        attach: 29,
    },
    Hook {
        name: "getpeername6",
        program: program::GETPEERNAME6,
        attach: 30,
    },
    Hook {
        name: "connect4",
        program: program::CONNECT4,
        attach: 10,
    },
    Hook {
        name: "connect6",
        program: program::CONNECT6,
        attach: 11,
    },
];

/// Attaches every hook of a workload, or hands existing links to our programs.
pub(super) fn attach(links: &Path, cgroup: &Path, id: u64, programs: &Programs) -> Result<(), CaptureError> {
    let open = |source| CaptureError::Cgroup {
        path: cgroup.to_path_buf(),
        action: "open it",
        source,
    };
    let directory = File::open(cgroup).map_err(open)?;
    let folder = folder(links, id);
    bpffs::make(&folder)?;
    for hook in &HOOKS {
        let program = programs.get(hook.program)?;
        let refused = |source| CaptureError::Attach {
            hook: hook.name,
            path: cgroup.to_path_buf(),
            source,
        };
        let pin = folder.join(hook.name);
        if adopt(&pin, id, program).map_err(refused)? {
            continue;
        }
        let link = sys::link_create(program, directory.as_fd(), hook.attach).map_err(refused)?;
        sys::pin(link.as_fd(), &pin).map_err(failed(&pin, "pin the link"))?;
    }
    Ok(())
}

/// Replaces the program of a pinned link. `false`: there is none that is attached to this cgroup.
fn adopt(pin: &Path, id: u64, program: BorrowedFd<'_>) -> io::Result<bool> {
    let link = match sys::get(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if sys::link_info(link.as_fd())?.cgroup != id {
        fs::remove_file(pin)?;
        return Ok(false);
    }
    sys::link_update(link.as_fd(), program)?;
    Ok(true)
}

/// Attaches the proxy's own program; it is detached when the descriptor is closed.
pub(super) fn attach_proxy(cgroup: &Path, programs: &Programs) -> Result<OwnedFd, CaptureError> {
    let open = |source| CaptureError::Cgroup {
        path: cgroup.to_path_buf(),
        action: "open it",
        source,
    };
    let directory = File::open(cgroup).map_err(open)?;
    sys::link_create(programs.get(program::SOCKOPS_PROXY)?, directory.as_fd(), SOCK_OPS).map_err(|source| {
        CaptureError::Attach {
            hook: "sock_ops of the proxy",
            path: cgroup.to_path_buf(),
            source,
        }
    })
}

/// Detaches a workload's hooks at once and removes their pins. That some or all are gone is no error.
pub(super) fn detach(links: &Path, id: u64) -> Result<(), CaptureError> {
    let folder = folder(links, id);
    for hook in HOOKS.iter().rev() {
        let pin = folder.join(hook.name);
        match sys::get(&pin) {
            Ok(link) => {
                // The cgroup is gone: so is the attachment.
                sys::link_detach(link.as_fd()).ok();
                fs::remove_file(&pin).map_err(failed(&pin, "remove the pin"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&pin, "open the link")(error)),
        }
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(&folder, "remove the folder")(error))
        }
        _ => Ok(()),
    }
}

/// Ids of the cgroups that have pinned links.
pub(super) fn pinned(links: &Path) -> Result<Vec<u64>, CaptureError> {
    let name = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    Ok(bpffs::list(links)?.into_iter().filter_map(name).collect())
}

/// Whether the pinned links are attached to nothing any more, because their cgroup was removed.
pub(super) fn is_orphan(links: &Path, id: u64) -> bool {
    HOOKS.iter().all(|hook| {
        let link = sys::get(&folder(links, id).join(hook.name));
        link.and_then(|link| sys::link_info(link.as_fd()))
            .map_or(true, |info| info.cgroup == 0)
    })
}

fn folder(links: &Path, id: u64) -> PathBuf {
    links.join(id.to_string())
}
