//! The records of join tokens: files for the command line, and what the running server has read of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::NodeName;
use mesh_runtime::drain::Drain;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::{Token, TokenError};

/// How often the directory is looked at: what a revocation takes to have effect.
const POLL: Duration = Duration::from_millis(500);
/// Characters of the digest in a record's file name: enough to keep a node's tokens apart.
const NAME_DIGITS: usize = 16;

/// The directory of the records.
#[derive(Debug, Clone)]
pub struct TokenDirectory {
    path: PathBuf,
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose it is.
    pub node: NodeName,
    /// The SHA-256 of the token, in hexadecimal.
    pub sha256: String,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// The tokens that are valid now. Followed by every stream, so that a revocation ends it.
#[derive(Debug, Clone)]
pub struct Roll {
    digests: watch::Receiver<Arc<Digests>>,
}

type Digests = HashMap<NodeName, Vec<[u8; 32]>>;

// === impl TokenDirectory ===

impl TokenDirectory {
    /// The directory at this path, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes a token, keeps its digest and returns it.
    pub fn create(&self, node: &NodeName) -> Result<Token, TokenError> {
        self.ensure()?;
        let token = Token::generate(node)?;
        let sha256 = hex(&token.digest());
        let name = format!("{node}.{}.json", sha256.get(..NAME_DIGITS).unwrap_or(&sha256));
        let now = OffsetDateTime::now_utc();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let entry = Entry {
            node: node.clone(),
            sha256,
            created: now.format(&Rfc3339).unwrap_or_default(),
        };
        let path = self.path.join(name);
        let write = || -> std::io::Result<()> {
            // Made with mode 0600.
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.path)?;
            serde_json::to_writer(&mut file, &entry)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| TokenError::File {
            path: path.clone(),
            source,
        })?;
        Ok(token)
    }

    /// Every record, by node and age.
    pub fn list(&self) -> Result<Vec<Entry>, TokenError> {
        Ok(self.read()?.into_values().collect())
    }

    /// Removes every token of a node, and returns how many there were.
    pub fn revoke(&self, node: &NodeName) -> Result<usize, TokenError> {
        let mut revoked = 0;
        for (path, entry) in self.read()? {
            if entry.node == *node {
                fs::remove_file(&path).map_err(|source| TokenError::File { path, source })?;
                revoked += 1;
            }
        }
        if revoked == 0 {
            Err(TokenError::NoToken(node.clone()))
        } else {
            Ok(revoked)
        }
    }

    /// Reads the tokens for a server. Returns the roll and the task that keeps it up to date.
    pub fn follow(
        self,
        drain: Drain,
    ) -> Result<(Roll, impl Future<Output = ()> + Send + 'static), TokenError> {
        self.ensure()?;
        let (sender, digests) = watch::channel(Arc::new(self.digests()?));
        Ok((Roll { digests }, self.poll(sender, drain)))
    }

    async fn poll(self, digests: watch::Sender<Arc<Digests>>, drain: Drain) {
        let mut last_error = String::new();
        let mut last_names = None;
        loop {
            tokio::select! {
                () = drain.stopping() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let directory = self.clone();
            // A record never changes under its name, so the names say whether anything has changed.
            let read = move || {
                let names = directory.paths().ok();
                let is_same = names.is_some() && names == last_names;
                (
                    names,
                    if is_same {
                        Ok(None)
                    } else {
                        directory.digests().map(Some)
                    },
                )
            };
            let Ok((names, read)) = tokio::task::spawn_blocking(read).await else {
                return;
            };
            last_names = names.filter(|_| read.is_ok());
            match read {
                Ok(None) => {}
                Ok(Some(next)) => {
                    last_error.clear();
                    let changed = digests.send_if_modified(|current| {
                        let is_changed = **current != next;
                        *current = Arc::new(next);
                        is_changed
                    });
                    if changed {
                        tracing::info!("the join tokens changed");
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if error != last_error {
                        tracing::error!(error, "cannot read the join tokens; those read before stay valid");
                        last_error = error;
                    }
                }
            }
        }
    }

    fn digests(&self) -> Result<Digests, TokenError> {
        let mut digests = Digests::new();
        for (path, entry) in self.read()? {
            let digest = entry.digest().ok_or_else(|| TokenError::Content {
                path,
                reason: "its sha256 is not one".to_owned(),
            })?;
            digests.entry(entry.node).or_default().push(digest);
        }
        Ok(digests)
    }

    fn read(&self) -> Result<BTreeMap<PathBuf, Entry>, TokenError> {
        let mut entries = BTreeMap::new();
        for path in self.paths()? {
            let text = match fs::read(&path) {
                Ok(text) => text,
                // Revoked a moment ago.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(TokenError::File { path, source }),
            };
            let entry = serde_json::from_slice(&text).map_err(|error| TokenError::Content {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            entries.insert(path, entry);
        }
        Ok(entries)
    }

    /// The records' files.
    fn paths(&self) -> Result<BTreeSet<PathBuf>, TokenError> {
        let list = || -> std::io::Result<BTreeSet<PathBuf>> {
            let paths = fs::read_dir(&self.path)?.map(|file| Ok(file?.path()));
            let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
            paths
                .filter(|path| path.as_ref().map_or(true, is_record))
                .collect()
        };
        list().map_err(|source| TokenError::File {
            path: self.path.clone(),
            source,
        })
    }

    fn ensure(&self) -> Result<(), TokenError> {
        let failed = |source| TokenError::File {
            path: self.path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(failed)?;
        let mode = fs::metadata(&self.path).map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = self.path.clone();
            return Err(TokenError::Permissions { path, mode });
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

// === impl Entry ===

impl Entry {
    fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if self.sha256.len() != 2 * digest.len() {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = self.sha256.get(2 * index..2 * index + 2)?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(digest)
    }
}

// === impl Roll ===

impl Roll {
    /// Whether a node's token of this digest is valid. Takes as long for a wrong digest as for the right one.
    pub fn is_valid(&self, node: &NodeName, digest: &[u8; 32]) -> bool {
        let digests = self.digests.borrow();
        let known = digests.get(node).map(Vec::as_slice).unwrap_or_default();
        known
            .iter()
            .fold(subtle::Choice::from(0), |found, known| {
                found | known.ct_eq(digest)
            })
            .into()
    }

    /// Waits for the next change. Never returns when there can't be one.
    pub async fn changed(&mut self) {
        if self.digests.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn directory() -> (tempfile::TempDir, TokenDirectory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = TokenDirectory::new(&parent.path().join("tokens"));
        (parent, directory)
    }

    #[test]
    fn keeps_the_digest_only_and_for_the_owner_only() {
        let (parent, directory) = directory();
        let token = directory.create(&node("a")).unwrap();
        let entries = directory.list().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].digest(), Some(token.digest()));
        let secret = token.as_str().rsplit_once('.').unwrap().1;
        for file in fs::read_dir(parent.path().join("tokens")).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            assert!(!fs::read_to_string(&path).unwrap().contains(secret));
        }
        assert_eq!(
            fs::metadata(parent.path().join("tokens")).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn revokes_all_tokens_of_one_node() {
        let (_parent, directory) = directory();
        for name in ["a", "a", "a.b"] {
            directory.create(&node(name)).unwrap();
        }
        assert_eq!(directory.revoke(&node("a")).unwrap(), 2);
        assert_eq!(directory.list().unwrap().len(), 1);
        let again = directory.revoke(&node("a")).unwrap_err().to_string();
        assert_eq!(again, "node a has no join token; see 'token list'");
    }

    #[test]
    fn refuses_a_directory_that_others_may_write_to() {
        let (parent, directory) = directory();
        let path = parent.path().join("tokens");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = directory.create(&node("a")).unwrap_err().to_string();
        assert!(
            error.contains("has mode 0755") && error.contains("chmod 0700"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_running_server_sees_new_and_revoked_tokens() {
        let (_parent, directory) = directory();
        let first = directory.create(&node("a")).unwrap();
        let (trigger, drain) = mesh_runtime::drain::channel();
        let (mut roll, poll) = directory.clone().follow(drain).unwrap();
        let tasks = mesh_runtime::tasks::Tasks::new();
        tasks.spawn("tokens", poll);
        assert!(roll.is_valid(&node("a"), &first.digest()));
        assert!(!roll.is_valid(&node("b"), &first.digest()), "another node's");
        let second = directory.create(&node("a")).unwrap();
        roll.changed().await;
        assert!(roll.is_valid(&node("a"), &second.digest()));
        directory.revoke(&node("a")).unwrap();
        roll.changed().await;
        assert!(!roll.is_valid(&node("a"), &first.digest()));
        trigger.stop();
        assert_eq!(tasks.join(Duration::from_secs(5)).await, Vec::<&str>::new());
    }
}
