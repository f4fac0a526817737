//! Files of secrets, read as groups that are good or bad together; never watched, and never logged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::targets_file::read_regular;

/// A file that an option names.
#[derive(Clone, Debug)]
pub(super) struct File {
    option: &'static str,
    path: PathBuf,
    /// In bytes.
    max: u64,
}

/// Of each file of a group, or why it cannot be read.
pub(super) type Contents = Vec<Result<String, String>>;

/// Files that are good or bad together.
#[derive(Debug)]
pub(super) struct Group {
    files: Vec<File>,
    seen: Contents,
    /// Seen at the last look for the first time.
    fresh: Option<Contents>,
}

impl File {
    pub(super) fn new(option: &'static str, path: &Path, max: u64) -> Self {
        Self {
            option,
            path: path.to_owned(),
            max,
        }
    }

    /// One line if others than owner and group may read it.
    pub(super) fn warning(&self) -> Option<String> {
        let mode = fs::metadata(&self.path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then(|| format!("{self} may be read by everybody on this machine: chmod o-r"))
    }

    fn read(&self) -> Result<String, String> {
        read_regular(&self.path, self.max).map_err(|reason| format!("{self} {reason}"))
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.option, self.path.display())
    }
}

impl Group {
    /// Reads them.
    pub(super) fn read(files: Vec<File>) -> Self {
        let seen = files.iter().map(File::read).collect();
        Self {
            files,
            seen,
            fresh: None,
        }
    }

    /// What was read at the start, or returned by [`Group::look`] since.
    pub(super) fn seen(&self) -> &Contents {
        &self.seen
    }

    /// Reads them again: what is in them, if it is something else and was so at the last look already.
    pub(super) fn look(&mut self) -> Option<Contents> {
        let now: Contents = self.files.iter().map(File::read).collect();
        let before = self.fresh.take();
        if now == self.seen {
            return None;
        }
        if before.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return None;
        }
        self.seen.clone_from(&now);
        Some(now)
    }

    pub(super) fn file(&self, which: usize) -> Option<&File> {
        self.files.get(which)
    }

    /// What `contents` have of one of its files.
    pub(super) fn content<'a>(&self, contents: &'a Contents, which: usize) -> Result<&'a str, String> {
        match contents.get(which) {
            Some(Ok(content)) => Ok(content),
            Some(Err(line)) => Err(line.clone()),
            None => Err(format!("{self}: a file is missing")),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, file) in self.files.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{file}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_when_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "one").unwrap();
        let mut group = Group::read(vec![File::new("--token-file", &path, 100)]);
        assert_eq!(group.look(), None);
        fs::write(&path, "tw").unwrap();
        assert_eq!(group.look(), None, "it may be half written");
        fs::write(&path, "two").unwrap();
        assert_eq!(group.look(), None, "it has changed again");
        assert_eq!(group.look(), Some(vec![Ok("two".to_owned())]));
        assert_eq!(group.look(), None, "once is enough");
        fs::remove_file(&path).unwrap();
        assert_eq!(group.look(), None);
        assert!(group.look().unwrap()[0].is_err(), "its end is a change");
    }

    #[test]
    fn warns_of_what_everybody_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "one").unwrap();
        let file = File::new("--token-file", &path, 100);
        for (mode, warns) in [(0o644, true), (0o640, false), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(file.warning().is_some(), warns, "{mode:o}");
        }
    }
}
