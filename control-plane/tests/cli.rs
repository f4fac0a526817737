//! What people meet: errors in one line, edits of the targets file, the end.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{ControlPlane, document, free_port, listener, run};

#[test]
fn validate_says_yes_or_why_not_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.yaml");
    std::fs::write(&file, document("web", &listener(1, ""), "")).unwrap();
    let good = run(&["validate", file.to_str().unwrap()]);
    assert!(good.status.success(), "must be good: {good:?}");
    std::fs::write(&file, document("web", &listener(1, ""), "idle: {afer: 5m}")).unwrap();
    let bad = run(&["validate", file.to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(1), "must be refused");
    let line = String::from_utf8(bad.stderr).unwrap();
    let start = format!(
        "control-plane: {}: document 1: spec.idle: unknown field `afer`",
        file.display()
    );
    assert!(
        line.starts_with(&start) && line.trim_end().lines().count() == 1,
        "must name it in one line: {line}"
    );
}

#[test]
fn a_port_in_use_is_named_with_its_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_refused(
        &["--listen", &address],
        &format!(
            "control-plane: {address} is in use: choose another address with --listen or HOLDFAST_LISTEN\n"
        ),
    );
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    check_refused(
        &["--token", "a b"],
        "control-plane: --token: the token holds something other than visible ASCII\n",
    );
}

#[test]
fn a_targets_file_that_is_not_there_is_named() {
    let output = run(&["serve", "--targets", "/no/targets.yaml"]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("control-plane: /no/targets.yaml: cannot be read: "),
        "must be named: {line}"
    );
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let good = directory.path().join("targets.yaml");
    std::fs::write(&good, document("web", &listener(1, ""), "")).unwrap();
    let good = good.to_str().unwrap();
    for path in [
        "/dev/zero",
        pipe.to_str().unwrap(),
        directory.path().to_str().unwrap(),
    ] {
        let refusal = format!("control-plane: {path}: is no regular file\n");
        let of_token = format!("control-plane: --token-file {path} is no regular file\n");
        for (args, expected) in [
            (&["validate", path][..], &refusal),
            (&["serve", "--targets", path], &refusal),
            (&["serve", "--targets", good, "--token-file", path], &of_token),
        ] {
            let output = run(args);
            let line = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                (output.status.code(), line.as_str()),
                (Some(1), expected.as_str()),
                "must be refused in a line"
            );
        }
    }
}

#[test]
fn each_backend_says_what_it_needs() {
    for (args, expected) in [
        (
            &["serve"][..],
            "control-plane: --targets is required by the local and the manual backend\n",
        ),
        (
            &["serve", "--backend", "kubernetes", "--targets", "t.yaml"],
            "control-plane: --targets is for local and manual: with --backend kubernetes targets are ScaleTarget resources\n",
        ),
        (
            &["serve", "--backend", "kubernetes", "--lease-duration", "99ms"],
            "control-plane: --lease-duration is too short to elect a leader by: write 100ms or more\n",
        ),
    ] {
        let output = run(args);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), line.as_str()),
            (Some(1), expected),
            "must be one clear line"
        );
    }
}

#[test]
fn no_cluster_is_one_clear_line() {
    let output = run(&["serve", "--backend", "kubernetes"]);
    let line = String::from_utf8(output.stderr).unwrap();
    let start = if cfg!(feature = "kubernetes") {
        "control-plane: no cluster: neither KUBECONFIG nor a service account can be used: "
    } else {
        "control-plane: this control plane was built without Kubernetes: "
    };
    assert!(
        line.starts_with(start) && line.trim_end().lines().count() == 1,
        "must be said: {line}"
    );
}

#[test]
fn an_edit_is_taken_and_a_bad_one_is_not() {
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    let first = plane.sync(&Value::Null, 0);
    let two = format!(
        "{}---\n{}",
        document("web", &listener(1, ""), ""),
        document("api", &listener(2, ""), "")
    );
    std::fs::write(plane.targets_file(), &two).unwrap();
    let next = plane.sync(&first["revision"], 20_000);
    assert_eq!(
        next["targets"][0]["id"], "default/api",
        "must publish the new target to an open poll"
    );

    std::fs::write(plane.targets_file(), two.replace("tcp", "udp")).unwrap();
    let refused = plane.event("refused", "message");
    assert!(refused.contains("unknown field `udp`"), "must say why: {refused}");
    assert!(
        refused.ends_with("keeping the last good targets"),
        "must keep the last good one: {refused}"
    );
    assert_eq!(plane.target("api")["state"], "asleep", "must still be there");
}

#[test]
fn an_atomic_rename_is_an_edit() {
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    let first = plane.sync(&Value::Null, 0);
    let aside = plane.directory().join("aside");
    std::fs::write(&aside, document("web", &listener(1, ""), "hold: {timeout: 7s}")).unwrap();
    std::fs::rename(&aside, plane.targets_file()).unwrap();
    let next = plane.sync(&first["revision"], 20_000);
    assert_eq!(
        next["targets"][0]["hold"]["timeout_ms"], 7_000,
        "must publish what has changed"
    );
}

#[test]
fn a_shutdown_answers_the_poll() {
    let mut plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    let revision = plane.sync(&Value::Null, 0)["revision"].clone();
    let body = format!(r#"{{"proxy":{{"id":"e","incarnation":"1"}},"since":{revision},"wait_ms":60000}}"#);
    let mut poll = TcpStream::connect(plane.address()).unwrap();
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    poll.write_all(format!("{head}{body}").as_bytes()).unwrap();
    support::until("the poll must be open", || {
        plane.get("/metrics").1.contains("open_polls 1").then_some(())
    });
    plane.kill(Signal::SIGTERM);
    let mut answer = String::new();
    poll.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK"),
        "must be answered: {answer}"
    );
    assert_eq!(plane.exit_code(), Some(0), "must end well");
}

#[test]
fn speaks_h2c_on_the_same_port() {
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    let mut stream = TcpStream::connect(plane.address()).unwrap();
    // The preface and an empty SETTINGS frame; a server answers with a SETTINGS frame (type 4).
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut frame = [0u8; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "must answer with SETTINGS: {frame:?}");
}

fn check_refused(args: &[&str], expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.yaml");
    std::fs::write(&file, document("web", &listener(1, ""), "")).unwrap();
    let mut all = vec!["serve", "--targets", file.to_str().unwrap()];
    if !args.contains(&"--listen") {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    all.extend(args);
    let output = run(&all);
    assert_eq!(output.status.code(), Some(1), "must be refused");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        expected,
        "must be one clear line"
    );
}
