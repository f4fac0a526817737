//! The local backend: real processes under the real binary.

mod support;

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{ControlPlane, document, free_port, listener, pid_in, runs, until};

const WANTED: &str = r#"{"default/web":{"held":1,"idle_ms":0}}"#;

#[test]
fn a_report_starts_it_and_idleness_stops_it() {
    let port = free_port();
    let plane = ControlPlane::start(&document("web", &listener(port, ""), "idle: {after: 300ms}"), &[]);
    let first = plane.sync(&Value::Null, 0);
    assert_eq!(first["targets"][0]["state"], "asleep", "must begin asleep");
    plane.report(1, &first["revision"], WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    assert!(
        plane.line("ready")["woke_ms"].is_u64(),
        "must tell how long the wake took"
    );
    plane.report(2, &first["revision"], "{}");
    let drained = plane.line("draining");
    assert_eq!(drained["why"], "idle", "must be put to sleep when idle");
    let now = plane.sync(&first["revision"], 0);
    assert_eq!(
        now["targets"][0]["state"], "draining",
        "must ask the proxies first"
    );
    assert!(runs(pid), "must not be stopped before they have answered");
    plane.report(3, &now["revision"], "{}");
    plane.line("asleep");
    assert!(!runs(pid), "must be gone before it is asleep");
}

#[test]
fn it_wakes_again_after_it_slept() {
    let plane = ControlPlane::start(
        &document("web", &listener(free_port(), ""), "idle: {after: 100ms}"),
        &[],
    );
    for round in 0..2 {
        let first = plane.sync(&Value::Null, 0);
        plane.report(10 * round + 1, &first["revision"], WANTED);
        plane.line("ready");
        plane.report(10 * round + 2, &first["revision"], "{}");
        plane.line("draining");
        let now = plane.sync(&first["revision"], 0);
        plane.report(10 * round + 3, &now["revision"], "{}");
        plane.line("asleep");
    }
    assert_eq!(plane.target("web")["epoch"], 2, "must have been ready twice");
}

#[test]
fn what_cannot_start_fails_with_its_last_words() {
    let broken = format!(
        "{{command: [sh, -c, 'echo no disk >&2; exit 3'], ready: {{tcp: {{port: {}}}}}}}",
        free_port()
    );
    let plane = ControlPlane::start(&document("web", &broken, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let failed = plane.line("failed");
    assert_eq!(
        failed["reason"], "exited with status 3 before it was ready: no disk",
        "must say why"
    );
}

#[test]
fn what_clients_may_be_told_is_a_class_and_the_text_is_for_people() {
    let leaky = format!(
        "{{command: [sh, -c, 'echo FATAL: postgres://app:s3cret@db/prod >&2; exit 7'], ready: {{tcp: {{port: {}}}}}}}",
        free_port()
    );
    let plane = ControlPlane::start(&document("web", &leaky, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let told = plane.line("failed");
    // It is tried again and again while a request waits.
    let wire = until("the proxies must be told", || {
        Some(plane.sync(&Value::Null, 0)["targets"][0].clone()).filter(|wire| wire["state"] == "failed")
    });
    let shown = plane.until_state("web", "failed");
    for (reader, class) in [("log", &told), ("proxies", &wire), ("people", &shown)] {
        assert_eq!(class["reason_class"], "crash", "the {reader} must have the class");
        let reason = class["reason"].as_str().unwrap();
        assert!(
            reason.contains("s3cret"),
            "the {reader} must have the text: {reason}"
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let missing = format!(
        "{{command: [/no/such/program], ready: {{tcp: {{port: {}}}}}}}",
        free_port()
    );
    let plane = ControlPlane::start(&document("web", &missing, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let failed = plane.line("failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.contains("cannot be started: /no/such/program: No such file"),
        "must name it: {reason}"
    );
    assert_eq!(failed["reason_class"], "command", "must say of which class it is");
}

#[test]
fn what_is_not_ready_in_time_fails_and_is_killed() {
    let port = free_port();
    let slow = format!(
        "{{command: [sleep, '600'], ready: {{tcp: {{port: {port}}}}}, startTimeout: 100ms, stopGrace: 1s}}"
    );
    let plane = ControlPlane::start(&document("web", &slow, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    let failed = plane.line("failed");
    assert_eq!(
        failed["reason"],
        format!("not ready within 100ms (tcp 127.0.0.1:{port}: refused)"),
        "must say what it waited for, and what it saw"
    );
    assert_eq!(
        failed["reason_class"], "start_timeout",
        "must say of which class it is"
    );
    until("it must be killed", || (!runs(pid)).then_some(()));
}

#[test]
fn a_port_that_another_process_has_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let plane = ControlPlane::start(&document("web", &listener(port, ""), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let failed = plane.line("failed");
    assert_eq!(
        failed["reason"],
        format!("127.0.0.1:{port} is already taken by another process"),
        "must not take it for ready"
    );
    assert_eq!(failed["reason_class"], "config", "must say of which class it is");
}

#[test]
fn a_failed_one_is_retried_for_a_later_arrival() {
    let directory = tempfile::tempdir().unwrap();
    let cured = directory.path().join("cured");
    let prelude = format!("if not os.path.exists({cured:?}): sys.exit('not yet')");
    let plane = ControlPlane::start(&document("web", &listener(free_port(), &prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("failed");
    std::fs::write(&cured, "").unwrap();
    // It was refused: nothing is held, but a request came.
    plane.report(2, &Value::Null, r#"{"default/web":{"idle_ms":200}}"#);
    let mut seq = 3;
    until("it must be retried", || {
        plane.report(seq, &Value::Null, r#"{"default/web":{"idle_ms":0}}"#);
        seq += 1;
        (plane.target("web")["state"] != "failed").then_some(())
    });
    plane.until_state("web", "ready");
}

#[test]
fn a_ready_process_that_dies_is_started_again() {
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let waking = plane.line("waking");
    assert_eq!(
        (&waking["from"], &waking["why"]),
        (&"ready".into(), &"lost".into()),
        "must be waited for"
    );
    plane.line("ready");
    assert_eq!(plane.target("web")["epoch"], 2, "must be a new epoch");
}

#[test]
fn http_readiness_waits_for_a_good_answer() {
    let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
    let process = format!(
        "{{command: [python3, -m, http.server, '{port}', --bind, 127.0.0.1], dir: {}, ready: {{http: {{port: {port}, path: /up}}}}}}",
        directory.path().display()
    );
    let plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("started");
    until("it must listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    assert_eq!(
        plane.target("web")["state"],
        "waking",
        "must not be ready while it answers 404"
    );
    std::fs::write(directory.path().join("up"), "").unwrap();
    plane.until_state("web", "ready");
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_grace() {
    let prelude = "signal.signal(signal.SIGTERM, signal.SIG_IGN)";
    let mut plane = ControlPlane::start(&document("web", &listener(free_port(), prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    plane.kill(Signal::SIGTERM);
    let reaped = plane.line("reaped");
    assert_eq!(reaped["signal"], 9, "must be killed in the end");
    assert_eq!(plane.exit_code(), Some(0), "must end well");
    assert!(!runs(pid), "must leave nothing behind");
}

#[test]
fn a_killed_control_plane_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (own, group, session) = (
        directory.path().join("own"),
        directory.path().join("group"),
        directory.path().join("session"),
    );
    // A child in its group, and one that has left the group and lost its parent.
    let prelude = format!(
        "open({own:?},'w').write(str(os.getpid()))
open({group:?},'w').write(str(subprocess.Popen(['sleep','600']).pid))
if os.fork()==0:
    os.setsid()
    if os.fork()==0:
        open({session:?},'w').write(str(os.getpid()))
        os.execvp('sleep',['sleep','600'])
    os._exit(0)"
    );
    let mut plane = ControlPlane::start(&document("web", &listener(free_port(), &prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("ready");
    let pids = [&own, &group, &session].map(|path| pid_in(path));
    assert!(pids.iter().all(|pid| runs(*pid)), "must all run");
    plane.kill(Signal::SIGKILL);
    for (pid, what) in
        pids.into_iter()
            .zip(["the workload", "its child", "its child in a session of its own"])
    {
        until(&format!("{what} must be gone"), || (!runs(pid)).then_some(()));
    }
}

#[test]
fn helpers_of_a_process_that_dies_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("helper");
    let prelude = format!("open({helper:?},'w').write(str(subprocess.Popen(['sleep','600']).pid))");
    let plane = ControlPlane::start(&document("web", &listener(free_port(), &prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    let helper = pid_in(&helper);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("its helper must be gone", || (!runs(helper)).then_some(()));
}

#[test]
fn a_script_without_permission_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    let process = format!(
        "{{command: [{}], ready: {{tcp: {{port: {}}}}}}}",
        script.display(),
        free_port()
    );
    let plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let reason = plane.event("failed", "reason");
    assert!(reason.contains("Permission denied"), "must say why: {reason}");
}

/// Clients give up sooner than it starts, and then no request comes for longer than `idle.after`.
#[test]
fn a_start_that_takes_longer_than_anybody_waits_ends_in_ready() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let prelude = format!("while not os.path.exists({go:?}): time.sleep(0.01)");
    let slow = document("web", &listener(free_port(), &prelude), "idle: {after: 100ms}");
    let quick = document("other", &listener(free_port(), ""), "idle: {after: 400ms}");
    let plane = ControlPlane::start(&format!("{slow}---\n{quick}"), &[]);
    let first = plane.sync(&Value::Null, 0);
    plane.report(1, &first["revision"], WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.report(
        2,
        &first["revision"],
        r#"{"default/other":{"held":1,"idle_ms":0}}"#,
    );
    plane.until_state("other", "ready");
    // No request waits any more, and every proxy has confirmed whatever there is to confirm.
    let mut seq = 3;
    until("the other must have been idle for four times as long", || {
        let now = plane.sync(&Value::Null, 0);
        plane.report(seq, &now["revision"], "{}");
        seq += 1;
        (plane.target("other")["state"] == "asleep").then_some(())
    });
    assert_eq!(plane.target("web")["state"], "waking", "must go on starting");
    std::fs::write(&go, "").unwrap();
    let ready = until("it must be up in the end", || {
        Some(plane.line("ready")).filter(|line| line["target"] == "default/web")
    });
    assert!(runs(pid), "must be the process that was started first: {ready}");
}

#[test]
fn autostart_starts_it_with_the_control_plane() {
    let process = listener(free_port(), "").replace("stopGrace", "autostart: true, stopGrace");
    let plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.line("ready");
}
