//! The targets file on disk: reads it whole and within bounds, and says when it has changed. What it means is decided in
//! [`fleet::config`].

mod regular;
pub mod watch;

use fleet::config::file::MAX_BYTES;
use fleet::config::{FileError, ScaleTarget, TargetsFile};
pub(crate) use regular::read_regular;

/// Reads the file. The targets come in the order of their ids.
///
/// # Errors
/// One line that says why it cannot be read, or is refused.
pub fn read(file: &TargetsFile) -> Result<Vec<ScaleTarget>, FileError> {
    let text = read_regular(&file.path, MAX_BYTES).map_err(|reason| file.refuse(&reason))?;
    file.parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::config::Needs;

    #[test]
    fn says_which_file_cannot_be_read() {
        let file = TargetsFile {
            path: "/nowhere/t.yaml".into(),
            needs: Needs::Nothing,
        };
        let error = read(&file).unwrap_err();
        assert!(
            error.to_string().starts_with("/nowhere/t.yaml: cannot be read: "),
            "must name the file: {error}"
        );
    }
}
