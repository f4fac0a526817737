//! Which proxies are known, in a file: it is replaced as a whole, and never half written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fleet_actor::known::Store;

/// Most bytes that are read or written: a thousand proxies with the longest names have half of it.
const MAX_BYTES: usize = 1 << 20;

/// The file of `--state-file`.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Store for StateFile {
    fn place(&self) -> String {
        format!("--state-file {}", self.path.display())
    }

    fn max_bytes(&self) -> usize {
        MAX_BYTES
    }

    async fn read(&self) -> Result<Option<String>, String> {
        let path = self.path.clone();
        aside(move || read(&path)).await
    }

    async fn write(&self, text: String) -> Result<(), String> {
        let path = self.path.clone();
        aside(move || replace(&path, &text).map_err(|e| e.to_string())).await
    }
}

/// Files may be slow.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(e.to_string()))
}

fn read(path: &Path) -> Result<Option<String>, String> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    // A pipe would be waited for.
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let read = file.take(most + 1).read_to_string(&mut text);
    read.map_err(|e| e.to_string())?;
    if text.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(Some(text))
}

/// A reader finds what was there before or all of `text`, whenever the machine stops.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path().join("state"));
        assert_eq!(file.read().await, Ok(None), "nothing has been written");
        for text in ["a long first text", "short"] {
            file.write(text.to_owned()).await.unwrap();
            assert_eq!(
                file.read().await,
                Ok(Some(text.to_owned())),
                "must be replaced as a whole"
            );
        }
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["state"], "must leave nothing else");
    }

    #[tokio::test]
    async fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("large"), vec![b' '; MAX_BYTES + 1]).unwrap();
        std::fs::write(at("bytes"), [0xff]).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (name, why) in [
            ("folder", "no regular file"),
            ("pipe", "no regular file"),
            ("large", "larger than"),
            ("bytes", "UTF-8"),
        ] {
            let refusal = StateFile::new(at(name)).read().await.unwrap_err();
            assert!(
                refusal.contains(why),
                "{name} must be refused for {why:?}: {refusal}"
            );
        }
        let refused = StateFile::new(at("nowhere").join("state"))
            .write(String::new())
            .await;
        assert!(refused.is_err(), "must say that it cannot be written");
    }
}
