//! Follows a folder: reads it at once, after each change, and every now and then in case a change went unseen.
//!
//! The kernel's notices only say that something happened; what counts is what is read then. A burst of notices is
//! read once, when it has calmed down.

use std::path::PathBuf;
use std::time::Duration;

use mesh_runtime::drain::Drain;
use notify::{RecursiveMode, Watcher as _};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::folder::{self, Load};

/// A burst has calmed down when nothing happened for this long: longer than the pause between an editor's
/// truncation of a file and its last write.
const QUIET: Duration = Duration::from_millis(150);
/// A burst is read even if it does not calm down.
const MAX_BURST: Duration = Duration::from_secs(2);
/// How often the folder is read without a notice: inotify does not see network filesystems, nor what symbolic links
/// lead to.
const RESCAN: Duration = Duration::from_secs(30);
/// How often the folder is read when the kernel gives no notices at all (its inotify instances are used up): soon
/// enough for a person who waits for a change.
const POLL: Duration = Duration::from_secs(2);

/// The `[source]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceConfig {
    /// The folder of manifests.
    pub folder: PathBuf,
}

/// Sends a load at once and after each change, until the drain or until nobody receives.
pub async fn watch(folder: PathBuf, loads: mpsc::Sender<Load>, drain: Drain) {
    // One place is enough: a second notice says nothing that the first did not.
    let (notices_in, mut notices) = mpsc::channel::<()>(1);
    // Held for its effect: dropping it ends the notices.
    let watcher = watcher(&folder, notices_in);
    let mut last: Option<[u8; 32]> = None;
    loop {
        let path = folder.clone();
        let Ok(load) = tokio::task::spawn_blocking(move || folder::read(&path)).await else {
            tracing::error!("reading the folder of manifests was aborted");
            return;
        };
        if last != Some(load.digest) {
            last = Some(load.digest);
            if loads.send(load).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = drain.stopping() => break,
            () = changed(&mut notices, watcher.is_some()) => {}
        }
    }
}

fn watcher(folder: &std::path::Path, notices: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        // Reading the folder is itself an event.
        let is_change = event.map_or(true, |event| !event.kind.is_access());
        if is_change {
            // Full: a notice waits already.
            notices.try_send(()).ok();
        }
    };
    let started = notify::recommended_watcher(handler).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match started {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(
                folder = %folder.display(), %error,
                "the folder of manifests cannot be watched; it is read every {} s instead", POLL.as_secs()
            );
            None
        }
    }
}

/// Waits until there is reason to read again.
async fn changed(notices: &mut mpsc::Receiver<()>, is_watched: bool) {
    if !is_watched {
        tokio::time::sleep(POLL).await;
        return;
    }
    if timeout(RESCAN, notices.recv()).await.is_err() {
        return;
    }
    let end = Instant::now() + MAX_BURST;
    loop {
        tokio::select! {
            () = sleep_until(end) => return,
            notice = timeout(QUIET, notices.recv()) => if notice.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than a rescan: on a machine without inotify instances to spare, the safety net is what is tested.
    const DEADLINE: Duration = Duration::from_mins(1);

    fn namespace(name: &str) -> String {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n")
    }

    async fn next(loads: &mut mpsc::Receiver<Load>) -> Vec<String> {
        let load = timeout(DEADLINE, loads.recv()).await.unwrap().unwrap();
        assert_eq!(load.problems, []);
        load.inputs
            .namespaces
            .into_iter()
            .map(|namespace| namespace.value.name)
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sees_files_come_change_and_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), namespace("one")).unwrap();
        let (trigger, drain) = mesh_runtime::drain::channel();
        let (sender, mut loads) = mpsc::channel(1);
        let tasks = mesh_runtime::tasks::Tasks::new();
        tasks.spawn("watch", watch(folder.path().to_owned(), sender, drain));
        assert_eq!(next(&mut loads).await, ["one"]);
        fs::write(folder.path().join("a.yaml"), namespace("two")).unwrap();
        assert_eq!(next(&mut loads).await, ["two"]);
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("b.yml"), namespace("three")).unwrap();
        assert_eq!(next(&mut loads).await, ["two", "three"]);
        fs::remove_file(folder.path().join("a.yaml")).unwrap();
        assert_eq!(next(&mut loads).await, ["three"]);
        trigger.stop();
        assert_eq!(tasks.join(DEADLINE).await, Vec::<&str>::new());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sees_a_config_map_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.yaml"), namespace(content)).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let (_trigger, drain) = mesh_runtime::drain::channel();
        let (sender, mut loads) = mpsc::channel(1);
        let tasks = mesh_runtime::tasks::Tasks::new();
        tasks.spawn("watch", watch(folder.path().to_owned(), sender, drain));
        assert_eq!(next(&mut loads).await, ["one"]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(next(&mut loads).await, ["two"]);
    }
}
