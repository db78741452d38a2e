//! The last good configuration on disk.
//!
//! A file of length-delimited discovery responses, one a type, as the control plane might have sent them; so it is
//! read back by the very code that reads the control plane. Written whole to a new file and then renamed: a crash
//! leaves the former state or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mesh_api::wire::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mesh_api::{EncodedResource, ResourceType};
use mesh_model::Snapshot;
use prost::Message as _;

use super::session::Session;

/// The file's name; its number is the format's.
const FILE: &str = "configuration.v1";
/// Largest file that is read, in bytes: some hundred thousand workloads.
const MAX_SIZE: u64 = 256 * 1024 * 1024;

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
    #[error("{} is larger than {MAX_SIZE} bytes; remove it, and the control plane's state is fetched anew", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no sequence of responses.
    #[error("{} is damaged: {source}; remove it, and the control plane's state is fetched anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: prost::DecodeError,
    },
}

/// The file.
#[derive(Debug, Clone)]
pub struct Cache {
    path: PathBuf,
}

// === impl Cache ===

impl Cache {
    /// In this directory, which is made if it is not there.
    pub fn open(state_directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(state_directory)?;
        Ok(Self {
            path: state_directory.join(FILE),
        })
    }

    /// What was kept; nothing when there is no file.
    pub fn load(&self) -> Result<Vec<DeltaDiscoveryResponse>, CacheError> {
        let read = |source| CacheError::Read {
            path: self.path.clone(),
            source,
        };
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(read(error)),
            Ok(metadata) if metadata.len() > MAX_SIZE => {
                return Err(CacheError::TooLarge {
                    path: self.path.clone(),
                });
            }
            Ok(_) => {}
        }
        let bytes = fs::read(&self.path).map_err(read)?;
        let mut rest = bytes.as_slice();
        let mut responses = Vec::new();
        while !rest.is_empty() {
            let response = DeltaDiscoveryResponse::decode_length_delimited(&mut rest).map_err(|source| {
                CacheError::Damaged {
                    path: self.path.clone(),
                    source,
                }
            })?;
            responses.push(response);
        }
        Ok(responses)
    }

    /// Keeps these bytes, which [`encode`] made.
    pub fn store(&self, bytes: &[u8]) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)
    }
}

/// The snapshot in the file's form, with the versions that the session knows.
pub fn encode(snapshot: &Snapshot, session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    for resource_type in ResourceType::ALL {
        let encoded: Vec<EncodedResource> = match resource_type {
            ResourceType::TrustBundle => snapshot
                .trust()
                .map(|b| EncodedResource::trust(b))
                .into_iter()
                .collect(),
            ResourceType::Workload => snapshot
                .workloads()
                .map(|w| EncodedResource::workload(w))
                .collect(),
            ResourceType::Service => snapshot.services().map(|s| EncodedResource::service(s)).collect(),
            ResourceType::Endpoints => snapshot
                .endpoint_sets()
                .map(|e| EncodedResource::endpoints(e))
                .collect(),
        };
        let resources = encoded
            .iter()
            .map(|resource| {
                let mut wire = resource.to_wire();
                if let Some(version) = session.version(resource_type, &resource.name) {
                    version.clone_into(&mut wire.version);
                }
                wire
            })
            .collect();
        let response = DeltaDiscoveryResponse {
            type_url: resource_type.type_url().to_owned(),
            resources,
            ..DeltaDiscoveryResponse::default()
        };
        bytes.extend(response.encode_length_delimited_to_vec());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use mesh_model::{Change, fixture};

    use super::*;

    #[test]
    fn gives_back_what_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        assert!(cache.load().unwrap().is_empty());
        let workload = fixture::workload("shop/web", "a", "10.0.0.1");
        let snapshot = Snapshot::default().apply(
            vec![
                Change::Workload(workload.clone()),
                Change::Service(fixture::service("shop/web", "10.96.0.1", &[80])),
            ]
            .into(),
        );
        cache.store(&encode(&snapshot, &Session::default())).unwrap();
        let mut session = Session::default();
        let restored = Snapshot::default().apply(session.restore(cache.load().unwrap()));
        assert_eq!(**restored.workload(&workload.name).unwrap(), workload);
        assert_eq!(restored.services().count(), 1);
        assert!(session.version(ResourceType::Workload, "shop/web").is_some());
        assert!(!session.is_complete());
    }

    #[test]
    fn says_that_a_damaged_file_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        fs::write(directory.path().join(FILE), b"\xff\xff\xff").unwrap();
        assert!(matches!(cache.load(), Err(CacheError::Damaged { .. })));
    }
}
