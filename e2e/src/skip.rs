//! What this machine cannot run is said, on a line of its own, and never passes in silence: `cargo xtask test` counts
//! these lines (`xtask/src/tally.rs`). With `CI` set nothing is skipped.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Mutex;

/// Says that the running test is not run, or not all of it, for want of `missing`. It counts as skipped then, and is to
/// go no further.
///
/// # Panics
/// With `CI` set: there a part that is missing is a failure.
pub fn skip(missing: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    assert!(!in_ci(), "{missing}: CI must not skip");
    let thread = std::thread::current();
    // The runner names a test's thread after it, unless it has one thread for all: then a line is begun already.
    let (begin, test) = match thread.name() {
        None | Some("main") => ("\n", "a test"),
        Some(test) => ("", test),
    };
    let is_first = SAID.lock().unwrap().insert(test.to_owned());
    if is_first || !begin.is_empty() {
        // Not `println`: what a test prints is kept from sight if it passes.
        let line = format!("{begin}SKIPPED {test}: {missing}\n");
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

/// True where a missing part is a failure.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const TRY: &str = "HOLDFAST_TRY_SKIP";
    const NAME: &str = "skip::tests::a_skipped_test_is_said_once_although_it_passes";

    #[test]
    fn a_skipped_test_is_said_once_although_it_passes() {
        if std::env::var_os(TRY).is_some() {
            skip("no patience");
            skip("no time either");
            return;
        }
        let run = |ci: &str, threads: &str| {
            let out = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--test-threads", threads])
                .envs([(TRY, "1"), ("CI", ci)])
                .output()
                .unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            let said: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("SKIPPED "))
                .map(str::to_owned)
                .collect();
            (out.status.success(), said)
        };
        let line = format!("SKIPPED {NAME}: no patience");
        assert_eq!(
            run("", "2"),
            (true, vec![line]),
            "must be said on a line of its own"
        );
        let (passed, said) = run("false", "1");
        assert!(
            passed
                && said
                    .first()
                    .is_some_and(|said| said == "SKIPPED a test: no patience"),
            "must be said: {said:?}"
        );
        assert_eq!(run("true", "2"), (false, vec![]), "must fail in CI");
    }
}
