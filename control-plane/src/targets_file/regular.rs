//! Reads a file that people name: a regular file, whole, and no more of it than it may have. Never waits for a writer.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// The text of the regular file at `path`, of at most `max` bytes. A link to one will do, so that what is mounted can be
/// swapped. Refused, in words that follow its name: what cannot be read, a folder, a device or a pipe, what is larger,
/// what is no UTF-8.
pub(crate) fn read_regular(path: &Path, max: u64) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    let file = open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut text = Vec::new();
    // What it says of its length need not be true of what it gives.
    file.take(max.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > max {
        return Err(format!("is larger than {max} bytes"));
    }
    String::from_utf8(text).map_err(|e| format!("is no UTF-8 after byte {}", e.utf8_error().valid_up_to()))
}

/// A pipe without a writer is opened as well, instead of waited for, and found out.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn reads_what_has_room_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("good"), "12345678").unwrap();
        std::fs::write(at("large"), "123456789").unwrap();
        std::fs::write(at("binary"), b"12\xff").unwrap();
        symlink("good", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        for (path, expected) in [
            (at("good"), Ok("12345678")),
            (at("link"), Ok("12345678")),
            (at("large"), Err("is larger than 8 bytes")),
            (at("binary"), Err("is no UTF-8 after byte 2")),
            (at("pipe"), Err("is no regular file")),
            (at(""), Err("is no regular file")),
            ("/dev/zero".into(), Err("is no regular file")),
            ("/dev/null".into(), Err("is no regular file")),
            // Says that it has no length.
            ("/proc/self/maps".into(), Err("is larger than 8 bytes")),
        ] {
            let read = read_regular(&path, 8);
            assert_eq!(
                read.as_deref().map_err(String::as_str),
                expected,
                "{} must be taken for what it is",
                path.display()
            );
        }
        let gone = read_regular(&at("dangling"), 8).unwrap_err();
        assert!(
            gone.starts_with("cannot be read: No such file"),
            "must say why: {gone}"
        );
    }
}
