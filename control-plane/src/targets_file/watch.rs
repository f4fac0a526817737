//! Follows a targets file: sends each new content that is good, and says why of each that is not.
//!
//! Watches the directory, not the file, so that editors which rename and mounts which swap a link are seen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use fleet::config::{ScaleTarget, TargetsFile};

/// Editors write in several steps; the file is read once it has been left alone for this long.
const SETTLE: Duration = Duration::from_millis(50);

/// Sends the file's targets each time they change, until the receiver is gone. `current` is what the caller already
/// has. A file that cannot be used changes nothing: one line in the log says why.
///
/// # Errors
/// Only at the start, if the directory cannot be watched.
pub async fn follow(
    file: TargetsFile,
    mut current: Vec<ScaleTarget>,
    changed: mpsc::Sender<Vec<ScaleTarget>>,
) -> notify::Result<()> {
    let (_watcher, mut events) = watch_directory(&directory(&file.path))?;
    let mut last_refusal = None;
    // An edit between the caller's reading and the start of the watch would be missed.
    events.mark_changed();
    loop {
        tokio::select! {
            event = events.changed() => if event.is_err() { return Ok(()) },
            () = changed.closed() => return Ok(()),
        }
        settle(&mut events).await;
        let read = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || super::read(&file)).await
        };
        match read {
            Ok(Ok(targets)) if targets == current => last_refusal = None,
            Ok(Ok(targets)) => {
                last_refusal = None;
                info!(event = "configured", file = %file.path.display(), targets = targets.len(), "targets changed");
                current.clone_from(&targets);
                if changed.send(targets).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Err(refusal)) => {
                if last_refusal.as_ref() != Some(&refusal) {
                    error!(event = "refused", "{refusal}: keeping the last good targets");
                }
                last_refusal = Some(refusal);
            }
            Err(join) => warn!("reading {} was interrupted: {join}", file.path.display()),
        }
    }
}

/// The watcher, which must be kept, and a doorbell: many events are as good as one, so it needs no queue.
fn watch_directory(directory: &Path) -> notify::Result<(RecommendedWatcher, watch::Receiver<()>)> {
    let (ring, events) = watch::channel(());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let only_read = event.is_ok_and(|event| event.kind.is_access());
        if !only_read {
            ring.send_replace(());
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok((watcher, events))
}

async fn settle(events: &mut watch::Receiver<()>) {
    while let Ok(Ok(())) = tokio::time::timeout(SETTLE, events.changed()).await {}
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
