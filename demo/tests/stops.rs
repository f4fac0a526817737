//! What a person sees who stops the demo: it ends every server that it started, and says that it was not done.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const WITHIN: Duration = Duration::from_secs(30);

#[test]
fn ctrl_c_ends_every_server_and_is_no_success() {
    let dir = std::env::temp_dir().join(format!("holdfast-demo-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    // A control plane that never becomes ready.
    let started = dir.join("started");
    let script = format!("#!/bin/sh\necho $$ > {}.new\n", started.display());
    let script = format!("{script}mv {0}.new {0}\nexec sleep 100\n", started.display());
    let control_plane = dir.join("control-plane");
    fs::write(&control_plane, script).unwrap();
    fs::set_permissions(&control_plane, fs::Permissions::from_mode(0o755)).unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--envoy", "no-envoy", "--wasm", "no-wasm"])
        .arg("--bin-dir")
        .arg(&dir)
        .arg("--dir")
        .arg(dir.join("demo"))
        // Nothing listens there.
        .args(["--port=1", "--admin-port=1", "--control-port=1"])
        .args(["--http-port=1", "--grpc-port=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let server = read(&started);

    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).unwrap();
    let out = demo.wait_with_output().unwrap();

    fs::remove_dir_all(&dir).unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(said.ends_with("\nStopping everything.\n"), "{said}");
    assert_eq!(errors, "error: stopped before the demo had shown everything\n");
    assert_eq!(out.status.code(), Some(1), "must be no success");
    assert!(
        kill(Pid::from_raw(server), None).is_err(),
        "the server must have ended"
    );
}

/// The number in the file, as soon as it is there.
fn read(path: &Path) -> i32 {
    let begun = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text.trim().parse().unwrap();
        }
        assert!(begun.elapsed() < WITHIN, "the server must be started");
        std::thread::sleep(Duration::from_millis(5));
    }
}
