//! Reads a folder of manifests, whole.
//!
//! Every `*.yaml`, `*.yml` and `*.json` below the folder, in the order of their paths. Names that begin with a dot
//! are skipped: editors' temporary files, and the hidden directories through which Kubernetes swaps a mounted
//! ConfigMap (whose visible entries are symbolic links, which are followed). Nothing is half read: a file that
//! cannot be read is a problem, as is one that does not parse.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{fs, mem};

use sha2::{Digest as _, Sha256};

use super::Inputs;
use super::manifest::{self, Manifest};
use crate::world::{Origin, Problem, Report};

/// Largest file that is read. A manifest of 50,000 workloads has about 20 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that are read; more say that the folder is not one of manifests.
const MAX_FILES: usize = 50_000;
/// Deepest directory that is read.
const MAX_DEPTH: usize = 32;

/// What a folder held at one moment.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// The resources. Incomplete when there is an error among the problems.
    pub inputs: Inputs,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// A digest of everything that was read: equal digests, equal loads.
    pub digest: [u8; 32],
}

/// The walk over a folder.
#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    /// Directories on the way, resolved: a symbolic link to one of them would be walked for ever.
    seen: HashSet<PathBuf>,
    report: Report,
}

/// Reads everything below `folder`.
pub fn read(folder: &Path) -> Load {
    let mut walk = Walk::default();
    walk.directory(folder, 0);
    walk.files.sort();
    let mut report = mem::take(&mut walk.report);
    if walk.files.len() > MAX_FILES {
        let message = format!("there are more than {MAX_FILES} manifests");
        report.error(
            &Origin::file(folder),
            "",
            message,
            "check that the folder is the right one",
        );
        walk.files.truncate(MAX_FILES);
    }
    let mut digest = Sha256::new();
    let mut inputs = Inputs::default();
    for file in &walk.files {
        digest.update(file.as_os_str().as_encoded_bytes());
        digest.update([0]);
        match content(file) {
            Ok(text) => {
                digest.update(Sha256::digest(&text));
                for manifest in manifest::parse(file, &text, &mut report) {
                    add(manifest, &mut inputs);
                }
            }
            Err(error) => {
                let message = format!("cannot be read: {error}");
                report.error(
                    &Origin::file(file),
                    "",
                    message,
                    "correct the file or its permissions",
                );
            }
        }
    }
    // A folder that is not there has been reported as just that.
    if walk.files.is_empty() && folder.is_dir() {
        let message = "the folder holds no manifest";
        let remedy = "put *.yaml, *.yml or *.json files there, or check source.folder in the configuration";
        report.warning(&Origin::file(folder), "", message, remedy);
    }
    let problems = report.into_problems();
    for problem in &problems {
        digest.update(problem.to_string());
    }
    Load {
        inputs,
        problems,
        digest: digest.finalize().into(),
    }
}

// === impl Walk ===

impl Walk {
    fn directory(&mut self, path: &Path, depth: usize) {
        if depth > MAX_DEPTH {
            let message = format!("the folder is more than {MAX_DEPTH} directories deep here");
            self.report.error(&Origin::file(path), "", message, "flatten it");
            return;
        }
        let entries = fs::canonicalize(path).and_then(|resolved| {
            let is_new = self.seen.insert(resolved);
            if is_new {
                fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()
            } else {
                Ok(Vec::new())
            }
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                let remedy = "check that the folder exists and may be read by mesh-control";
                self.report.error(&Origin::file(path), "", message, remedy);
                return;
            }
        };
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.directory(&path, depth + 1),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => self.files.push(path),
                Err(error) if is_manifest(&path) => {
                    let message = format!("cannot be read: {error}");
                    self.report
                        .error(&Origin::file(&path), "", message, "correct the link or remove it");
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

fn content(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(file)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES / 1024 / 1024;
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {limit} MiB; split it"),
        ));
    }
    Ok(text)
}

fn add(manifest: Manifest, inputs: &mut Inputs) {
    match manifest {
        Manifest::Namespace(namespace) => inputs.namespaces.push(namespace),
        Manifest::Service(service) => inputs.services.push(service),
        Manifest::Slice(slice) => inputs.slices.push(slice),
        Manifest::Workload(workload) => inputs.workloads.push(workload),
        Manifest::Route(route) => inputs.routes.push(route),
        Manifest::Policy(policy) => inputs.policies.push(*policy),
    }
}

#[cfg(test)]
mod tests;
