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
    // The runner names a test's thread after it.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    if SAID.lock().unwrap().insert(test.to_owned()) {
        // Not `println`: what a test prints is kept from sight if it passes. With one thread the runner has begun a line.
        let line = format!("\nSKIPPED {test}: {missing}\n");
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
        let said = vec![format!("SKIPPED {NAME}: no patience")];
        assert_eq!(
            run("", "2"),
            (true, said.clone()),
            "must be said on a line of its own"
        );
        assert_eq!(
            run("false", "1"),
            (true, said),
            "must be said so by a single thread too"
        );
        assert_eq!(run("true", "2"), (false, vec![]), "must fail in CI");
    }
}
