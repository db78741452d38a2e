//! A file that changes between two texts ten times a second: how endpoints come and go, at the mesh and at Envoy alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// Ten changes a second.
const PAUSE: Duration = Duration::from_millis(100);

/// The file, and what it says by turns.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The file.
    pub file: PathBuf,
    /// The first is what it says at rest.
    pub texts: [String; 2],
}

/// A file that changes.
#[derive(Debug)]
pub struct Swapping {
    swap: Swap,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

// === impl Swap ===

impl Swap {
    /// Begins.
    pub fn start(&self) -> Swapping {
        let (swap, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for text in [&swap.texts[1], &swap.texts[0]] {
                    write(&swap.file, text)?;
                    thread::sleep(PAUSE);
                }
            }
            Ok(())
        });
        Swapping {
            swap: self.clone(),
            stop,
            thread,
        }
    }
}

// === impl Swapping ===

impl Swapping {
    /// Ends with the text of rest.
    pub fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("changing {} panicked", self.swap.file.display()))?
    }
}

/// At once, as a careful editor does: who watches never sees half of it.
fn write(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.draft"));
    fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("write {}", path.display()))
}
