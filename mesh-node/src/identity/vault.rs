//! Certificates and keys on disk, for a restart while the control plane is away.
//!
//! One file an identity, in a directory and with modes that only the owner can read. The directory should be on a
//! tmpfs (the default, `/run`, is): keys then never reach a disk and are gone with a reboot.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mesh_model::Identity;
use rustls::crypto::CryptoProvider;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Material;

/// Only the owner enters the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Only the owner reads a file.
const FILE_MODE: u32 = 0o600;
/// What files of the vault end in.
const EXTENSION: &str = "identity";

/// The directory.
#[derive(Debug)]
pub struct Vault {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    identity: String,
    chain: Vec<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    signer: [u8; 32],
}

// === impl Vault ===

impl Vault {
    /// Makes the directory if it is not there, and closes it to others if it was open.
    pub fn open(runtime_directory: &Path) -> io::Result<Self> {
        let directory = runtime_directory.join("identities");
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(DIRECTORY_MODE))?;
        Ok(Self { directory })
    }

    /// Everything that is there and can be used. What can't be is logged and removed.
    pub fn load(&self, provider: &CryptoProvider) -> Vec<Material> {
        let Ok(files) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        files
            .filter_map(Result::ok)
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|path| match read(&path, provider) {
                Ok(material) => Some(material),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "dropping an identity kept on disk");
                    remove(&path);
                    None
                }
            })
            .collect()
    }

    /// Keeps a certificate with its key.
    pub fn save(&self, material: &Material) -> io::Result<()> {
        let entry = Entry {
            identity: material.identity.to_string(),
            chain: material.chain.clone(),
            key: material.key.clone(),
            signer: material.signer,
        };
        let text = Zeroizing::new(serde_json::to_vec(&entry)?);
        let path = self.path(&material.identity);
        let partial = path.with_extension("partial");
        // A file left by a crash may have any mode; made anew it has ours.
        remove(&partial);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&partial)?;
        file.write_all(&text)?;
        fs::rename(&partial, &path)
    }

    /// Forgets an identity.
    pub fn remove(&self, identity: &Identity) {
        remove(&self.path(identity));
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        // Neither part can have an underscore or a slash, so that no two identities share a file.
        let name = format!(
            "{}_{}.{EXTENSION}",
            identity.namespace(),
            identity.service_account()
        );
        self.directory.join(name)
    }
}

fn read(path: &Path, provider: &CryptoProvider) -> Result<Material, Box<dyn std::error::Error>> {
    let entry: Entry = serde_json::from_reader(io::BufReader::new(File::open(path)?))?;
    Ok(Material::new(
        entry.identity.parse()?,
        entry.chain,
        entry.key,
        entry.signer,
        provider,
    )?)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file with a key");
    }
}
