//! One kernel map, typed. Needs no lock: each operation is one call on the descriptor.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::Pod;

use super::{error::CaptureError, sys};

/// A map whose key and value sizes were checked against the ABI before it was opened.
#[derive(Debug)]
pub(super) struct KernelMap<K, V> {
    fd: OwnedFd,
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> KernelMap<K, V> {
    /// Opens the map pinned in `folder` under its name.
    pub(super) fn open(folder: &Path, name: &'static str) -> Result<Self, CaptureError> {
        let path = folder.join(name);
        let fd = sys::get(&path).map_err(|source| CaptureError::Pins {
            path,
            action: "open the map",
            source,
        })?;
        Ok(Self {
            fd,
            name,
            types: PhantomData,
        })
    }

    /// Reads one entry.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, CaptureError> {
        sys::map_lookup(self.fd.as_fd(), key).map_err(|e| self.error("read", e))
    }

    /// Reads and removes one entry at once.
    pub(super) fn take(&self, key: &K) -> Result<Option<V>, CaptureError> {
        sys::map_take(self.fd.as_fd(), key).map_err(|e| self.error("take from", e))
    }

    /// Writes one entry.
    pub(super) fn insert(&self, key: &K, value: &V) -> Result<(), CaptureError> {
        sys::map_update(self.fd.as_fd(), key, value).map_err(|e| self.error("write", e))
    }

    /// Removes one entry, if it is there.
    pub(super) fn remove(&self, key: &K) -> Result<(), CaptureError> {
        sys::map_delete(self.fd.as_fd(), key).map_err(|e| self.error("delete from", e))
    }

    /// The keys at this moment, at most `limit`: an entry deleted meanwhile makes the kernel start over.
    pub(super) fn keys(&self, limit: u32) -> Result<Vec<K>, CaptureError> {
        let mut keys = Vec::new();
        let mut last = None;
        for _ in 0..limit {
            let next =
                sys::map_next_key(self.fd.as_fd(), last.as_ref()).map_err(|e| self.error("list", e))?;
            let Some(key) = next else { break };
            keys.push(key);
            last = Some(key);
        }
        Ok(keys)
    }

    /// The values at this moment, at most `limit`, in a few calls.
    pub(super) fn values(&self, limit: u32) -> Result<Vec<V>, CaptureError> {
        sys::map_values::<K, V>(self.fd.as_fd(), limit).map_err(|e| self.error("list", e))
    }

    /// Removes every entry there is.
    pub(super) fn clear(&self, limit: u32) -> Result<usize, CaptureError> {
        let keys = self.keys(limit)?;
        for key in &keys {
            self.remove(key)?;
        }
        Ok(keys.len())
    }

    fn error(&self, action: &'static str, source: io::Error) -> CaptureError {
        CaptureError::Map {
            map: self.name,
            action,
            source,
        }
    }
}
