//! What reads others' bytes, for a fuzzer and for property tests alike: takes any bytes and panics where something is wrong.

use std::path::PathBuf;

use crate::config::{Needs, TargetsFile};

/// A targets file: taken, or refused in one line that names it.
pub fn targets_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for needs in [Needs::Process, Needs::Nothing] {
        let path = PathBuf::from("targets.yaml");
        match (TargetsFile { path, needs }).parse(text) {
            Ok(targets) => assert!(!targets.is_empty(), "a file without targets must be refused"),
            Err(refusal) => {
                let line = refusal.to_string();
                assert!(line.starts_with("targets.yaml: "), "must name the file: {line:?}");
                assert!(
                    !line.contains('\n') && line.len() < 4096,
                    "must be a line: {line:?}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const SHIPPED: &str = include_str!("../../../local-envoy/targets.yaml");
    /// Of YAML and of our own grammar.
    const WORDS: [&str; 16] = [
        "&a ",
        "*a ",
        "<<: ",
        "!!binary ",
        "---\n",
        "- ",
        "? ",
        "{",
        "[",
        "\"",
        "|\n",
        "\t",
        "1e999",
        "-0",
        "18446744073709551616",
        "5h",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_damaged_file_is_taken_or_refused_in_one_line(
            pieces in vec((any::<Index>(), 0..8_usize, prop_oneof![any::<Index>().prop_map(|n| WORDS[n.index(WORDS.len())].to_owned()), ".{0,6}"]), 0..5),
        ) {
            let mut bytes = SHIPPED.as_bytes().to_vec();
            for (at, length, piece) in pieces {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, piece.into_bytes());
            }
            targets_file(&bytes);
        }
    }
}
