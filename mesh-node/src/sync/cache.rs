//! The last good configuration on disk.
//!
//! Discovery responses as the control plane might have sent them, each after its length in four bytes, so that they
//! are read back by the very code that reads the control plane; at the end the SHA-256 of it all. A file that is not
//! exactly what was written is not used: half a configuration is worse than none, for what it lacks would be let go.
//! Written whole to a new file and then renamed: a crash leaves the former state or the new one. Read and written
//! response by response: 50,000 workloads at once would cost more memory than the node needs otherwise.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use mesh_api::wire::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mesh_api::{EncodedResource, ResourceType};
use mesh_model::Snapshot;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// The file's name; its number is the format's.
const FILE: &str = "configuration.v3";
/// The name of the former format, which had no routes. It is read where there is no other, so that an upgrade while the
/// control plane is away goes on with what was in force, and removed once there is a new one.
const FORMER_FILE: &str = "configuration.v2";
/// Largest file that is read, in bytes: some hundred thousand workloads.
const MAX_SIZE: u64 = 256 * 1024 * 1024;
/// Resources in a response, as many as the control plane sends at once.
const CHUNK: usize = 500;
/// Bytes of the digest at the end.
const DIGEST: usize = 32;
/// Bytes of a length.
const LENGTH: usize = 4;

/// Why the file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system does not let us.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than anything that is written.
    #[error("{} is larger than {MAX_SIZE} bytes and not used; it is replaced once the control plane has answered", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{} is damaged ({reason}) and not used; it is replaced once the control plane has answered", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file.
#[derive(Debug, Clone)]
pub struct Cache {
    path: PathBuf,
    former: PathBuf,
}

/// Writes, and digests what it writes.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
}

// === impl Cache ===

impl Cache {
    /// In this directory, which is made if it is not there.
    pub fn open(state_directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(state_directory)?;
        Ok(Self {
            path: state_directory.join(FILE),
            former: state_directory.join(FORMER_FILE),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over what was kept, response by response; nothing when there is no file. The file has been checked as a
    /// whole before the first.
    pub fn load(&self, mut take: impl FnMut(DeltaDiscoveryResponse)) -> Result<(), CacheError> {
        if !load(&self.path, &mut take)? {
            load(&self.former, &mut take)?;
        }
        Ok(())
    }

    /// Keeps a snapshot.
    pub fn store(&self, snapshot: &Snapshot) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = Digesting {
            inner: BufWriter::new(File::create(&partial)?),
            digest: Sha256::new(),
        };
        let trust = snapshot.trust().map(|b| EncodedResource::trust(b));
        file.write_type(ResourceType::TrustBundle, trust.into_iter())?;
        let workloads = snapshot.workloads().map(|w| EncodedResource::workload(w));
        file.write_type(ResourceType::Workload, workloads)?;
        let services = snapshot.services().map(|s| EncodedResource::service(s));
        file.write_type(ResourceType::Service, services)?;
        let endpoints = snapshot.endpoint_sets().map(|e| EncodedResource::endpoints(e));
        file.write_type(ResourceType::Endpoints, endpoints)?;
        let routes = snapshot.all_routes().map(|r| EncodedResource::routes(r));
        file.write_type(ResourceType::Routes, routes)?;
        let Digesting { mut inner, digest } = file;
        inner.write_all(&digest.finalize())?;
        let file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        match fs::remove_file(&self.former) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reads a file; gives whether there is one.
fn load(path: &Path, take: &mut impl FnMut(DeltaDiscoveryResponse)) -> Result<bool, CacheError> {
    let read = |source| CacheError::Read {
        path: path.to_owned(),
        source,
    };
    let damaged = |reason: &str| CacheError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(read)?,
    };
    let size = file.metadata().map_err(read)?.len();
    if size > MAX_SIZE {
        return Err(CacheError::TooLarge {
            path: path.to_owned(),
        });
    }
    let Some(mut left) = size.checked_sub(DIGEST as u64) else {
        return Err(damaged("it is cut short"));
    };
    if !is_intact(&file, left).map_err(read)? {
        return Err(damaged("its checksum is wrong"));
    }
    file.rewind().map_err(read)?;
    let mut file = BufReader::new(file);
    let mut bytes = Vec::new();
    while left > 0 {
        let mut length = [0; LENGTH];
        file.read_exact(&mut length).map_err(read)?;
        let length = u64::from(u32::from_be_bytes(length));
        left = left
            .checked_sub(length + LENGTH as u64)
            .ok_or_else(|| damaged("a length in it is wrong"))?;
        bytes.clear();
        Read::by_ref(&mut file)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(read)?;
        let response =
            DeltaDiscoveryResponse::decode(bytes.as_slice()).map_err(|error| damaged(&error.to_string()))?;
        take(response);
    }
    Ok(true)
}

/// Whether the first `size` bytes have the digest that follows them.
fn is_intact(file: &File, size: u64) -> io::Result<bool> {
    let mut file = BufReader::new(file);
    let mut digest = Sha256::new();
    io::copy(&mut Read::by_ref(&mut file).take(size), &mut digest)?;
    let mut written = [0; DIGEST];
    file.read_exact(&mut written)?;
    Ok(digest.finalize().as_slice() == written)
}

// === impl Digesting ===

impl<W: Write> Digesting<W> {
    /// Writes all resources of a type. The versions are the digests of what this node understood: a resource of which
    /// it did not understand everything is sent to it again after a restart.
    fn write_type(
        &mut self,
        resource_type: ResourceType,
        mut resources: impl Iterator<Item = EncodedResource>,
    ) -> io::Result<()> {
        loop {
            let chunk: Vec<_> = resources
                .by_ref()
                .take(CHUNK)
                .map(|resource| resource.to_wire())
                .collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let response = DeltaDiscoveryResponse {
                type_url: resource_type.type_url().to_owned(),
                resources: chunk,
                ..DeltaDiscoveryResponse::default()
            };
            let bytes = response.encode_to_vec();
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            self.write(&length.to_be_bytes())?;
            self.write(&bytes)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.inner.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::{Change, HttpMatch, fixture};

    use super::*;
    use crate::sync::session::Session;

    /// More than fit in one response.
    const MANY: usize = CHUNK + 1;

    fn restored(cache: &Cache) -> Result<(Snapshot, Session), CacheError> {
        let (mut snapshot, mut session) = (Snapshot::default(), Session::default());
        cache.load(|response| snapshot = snapshot.apply(session.restore(response)))?;
        Ok((snapshot, session))
    }

    fn stored(directory: &Path) -> (Cache, Snapshot) {
        let cache = Cache::open(directory).unwrap();
        let rule = fixture::http_rule(
            "shop/canary#0",
            vec![HttpMatch::any()],
            vec![fixture::invalid_backend(1)],
        );
        let mut changes = vec![
            Change::Service(fixture::service("shop/web", "10.96.0.1", &[80])),
            Change::Routes(fixture::http_routes("shop/web", 80, vec![rule])),
        ];
        changes.extend((0..MANY).map(|number| {
            Change::Workload(fixture::workload(&format!("shop/web-{number}"), "a", "10.0.0.1"))
        }));
        let snapshot = Snapshot::default().apply(changes.into());
        cache.store(&snapshot).unwrap();
        (cache, snapshot)
    }

    #[test]
    fn gives_back_what_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            restored(&Cache::open(directory.path()).unwrap())
                .unwrap()
                .0
                .services()
                .count(),
            0
        );
        let (cache, snapshot) = stored(directory.path());
        let (again, session) = restored(&cache).unwrap();
        assert_eq!(again.workloads().count(), MANY);
        assert!(snapshot.workloads().all(|w| again.workload(&w.name) == Some(w)));
        assert_eq!(again.services().count(), 1);
        let web = "shop/web".parse().unwrap();
        assert_eq!(again.routes(&web), snapshot.routes(&web));
        assert!(session.version(ResourceType::Workload, "shop/web-0").is_some());
        assert!(!session.is_complete());
    }

    #[test]
    fn goes_on_with_the_former_format_until_it_has_written_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, snapshot) = stored(directory.path());
        fs::rename(&cache.path, &cache.former).unwrap();
        assert_eq!(restored(&cache).unwrap().0.workloads().count(), MANY);
        cache.store(&snapshot).unwrap();
        assert!(cache.path.exists() && !cache.former.exists());
        assert_eq!(restored(&cache).unwrap().0.workloads().count(), MANY);
        fs::write(&cache.former, "damaged").unwrap();
        assert!(
            restored(&cache).is_ok(),
            "nobody looks at it where there is a new one"
        );
    }

    #[test]
    fn refuses_a_file_that_is_not_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = stored(directory.path());
        let whole = fs::read(&cache.path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let mut longer = whole.clone();
        longer.push(0);
        let damaged = [
            flipped.as_slice(),
            &whole[..whole.len() - 1],
            &whole[..DIGEST],
            &whole[..1],
            &[],
            &longer,
        ];
        for bytes in damaged {
            fs::write(&cache.path, bytes).unwrap();
            let error = restored(&cache).unwrap_err();
            assert!(matches!(error, CacheError::Damaged { .. }), "{error}");
        }
    }
}
