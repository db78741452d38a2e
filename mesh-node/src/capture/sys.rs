//! The bpf(2) calls that aya does not offer in the form needed here, SO_NETNS_COOKIE and the programs' clock: the only
//! unsafe code of capture. Owns no state; every call returns what the kernel said.
#![expect(
    unsafe_code,
    reason = "bpf(2), SO_NETNS_COOKIE and the programs' clock have no safe wrapper"
)]

use std::{
    ffi::CString,
    io,
    mem::{MaybeUninit, size_of},
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use aya::Pod;

/// Commands of bpf(2), as `enum bpf_cmd` of include/uapi/linux/bpf.h numbers them.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    Lookup = 1,
    Update = 2,
    Delete = 3,
    NextKey = 4,
    Pin = 6,
    Get = 7,
    Info = 15,
    Take = 21,
    LookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// `union bpf_attr` for the calls on a map's element.
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for BPF_MAP_LOOKUP_BATCH.
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// `union bpf_attr` for BPF_OBJ_PIN and BPF_OBJ_GET.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` for BPF_LINK_CREATE and BPF_LINK_UPDATE: four words, of different meaning.
#[repr(C)]
struct Link {
    words: [u32; 4],
}

/// `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    address: u64,
}

/// The head of `struct bpf_link_info` for a cgroup link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// `enum bpf_link_type`
    pub(super) kind: u32,
    /// Id of the link.
    pub(super) id: u32,
    /// Id of its program.
    pub(super) program: u32,
    pad: u32,
    /// Id of its cgroup; 0 once the cgroup is gone.
    pub(super) cgroup: u64,
    /// `enum bpf_attach_type`
    pub(super) attach: u32,
    pad2: u32,
}

fn bpf<A>(command: Command, attr: &mut A) -> io::Result<RawFd> {
    // SAFETY: `attr` is laid out as the command's part of union bpf_attr and lives through the call; its size is
    // given, so the kernel reads no further. The pointers in it come from references that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

/// Runs a command whose result is a new descriptor.
fn bpf_fd<A>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}

fn element<K>(map: BorrowedFd<'_>, key: Option<&K>, value: u64, flags: u64) -> Element {
    let key = key.map_or(0, |key| address(std::ptr::from_ref(key)));
    Element {
        map: number(map),
        pad: 0,
        key,
        value,
        flags,
    }
}

/// Reads one element. `None`: there is none.
pub(super) fn map_lookup<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    read_element(Command::Lookup, map, key)
}

/// Reads and deletes one element at once (hash maps: Linux 5.14). `None`: there is none.
pub(super) fn map_take<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    read_element(Command::Take, map, key)
}

fn read_element<K: Pod, V: Pod>(command: Command, map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::zeroed();
    let mut attr = element(map, Some(key), address(value.as_mut_ptr()), 0);
    match bpf(command, &mut attr) {
        // SAFETY: the kernel has filled it; V is plain data of the map's value size (checked when the map was opened).
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes one element.
pub(super) fn map_update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = element(map, Some(key), address(std::ptr::from_ref(value)), 0);
    bpf(Command::Update, &mut attr).map(drop)
}

/// Deletes one element; that there is none is no error.
pub(super) fn map_delete<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    match bpf(Command::Delete, &mut element(map, Some(key), 0, 0)) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// The key after `key`; the first one for `None`. `None`: there are no more.
pub(super) fn map_next_key<K: Pod>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = MaybeUninit::<K>::zeroed();
    let mut attr = element(map, key, address(next.as_mut_ptr()), 0);
    match bpf(Command::NextKey, &mut attr) {
        // SAFETY: the kernel has filled it; K is plain data of the map's key size.
        Ok(_) => Ok(Some(unsafe { next.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The values of a hash map, at most `limit`; some of those that come or go meanwhile may be missing (Linux 5.6).
pub(super) fn map_values<K: Pod, V: Pod>(map: BorrowedFd<'_>, limit: u32) -> io::Result<Vec<V>> {
    let capacity = usize::try_from(limit).map_err(io::Error::other)?;
    let mut keys = Vec::<K>::with_capacity(capacity);
    let mut values = Vec::<V>::with_capacity(capacity);
    let mut next = 0_u32;
    let mut attr = Batch {
        from: 0,
        next: address(std::ptr::from_mut(&mut next)),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: limit,
        map: number(map),
        element_flags: 0,
        flags: 0,
    };
    match bpf(Command::LookupBatch, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        // That there are no more is told by the same error as that there is none.
        _ => {
            let count = usize::try_from(attr.count).map_err(io::Error::other)?;
            // SAFETY: the kernel has filled so many, and no more than there is room for; V is plain data of the map's
            // value size.
            unsafe { values.set_len(count.min(capacity)) };
            Ok(values)
        }
    }
}

/// A value as it lies in a ring; `None` when the size is another.
pub(super) fn value<V: Pod>(bytes: &[u8]) -> Option<V> {
    // SAFETY: plain data, of which there are as many bytes as it has.
    (bytes.len() == size_of::<V>()).then(|| unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// CLOCK_MONOTONIC, which `bpf_ktime_get_ns` reads: time since the boot.
pub(super) fn monotonic() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the value, which lives through it.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Pins an object at a path of a bpffs.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(
        Command::Pin,
        &mut Object {
            path: address(path.as_ptr()),
            fd: number(object),
            flags: 0,
        },
    )
    .map(drop)
}

/// Opens a pinned object.
pub(super) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf_fd(
        Command::Get,
        &mut Object {
            path: address(path.as_ptr()),
            fd: 0,
            flags: 0,
        },
    )
}

/// Attaches a program to a cgroup. Flags 0: with a link that always allows others beside it.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach: u32,
) -> io::Result<OwnedFd> {
    bpf_fd(
        Command::LinkCreate,
        &mut Link {
            words: [number(program), number(cgroup), attach, 0],
        },
    )
}

/// Replaces the program of a link, without a gap.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf(
        Command::LinkUpdate,
        &mut Link {
            words: [number(link), number(program), 0, 0],
        },
    )
    .map(drop)
}

/// Detaches a link at once, whoever else holds it.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(
        Command::LinkDetach,
        &mut Link {
            words: [number(link), 0, 0, 0],
        },
    )
    .map(drop)
}

/// What a cgroup link is attached to.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let length = u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?;
    let buffer = address(std::ptr::from_mut(&mut info));
    bpf(
        Command::Info,
        &mut Info {
            fd: number(link),
            length,
            address: buffer,
        },
    )?;
    Ok(info)
}

/// The cookie of the network namespace that a socket belongs to (SO_NETNS_COOKIE, Linux 5.14).
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the value and its length live through the call and have the sizes that the option asks for.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
