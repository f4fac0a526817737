//! A log that cannot be written: lines are lost and counted, and nothing else happens.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::pipe;
use serde_json::Value;
use support::{ControlPlane, document, free_port, listener, runs, until};

const WANTED: &str = r#"{"default/web":{"held":1,"idle_ms":0}}"#;

#[test]
fn a_full_disk_loses_lines_and_no_workload() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let plane = check_lives_on(Stdio::from(full));
    let lost = lines_lost(&plane);
    assert!(lost >= 3, "must count what it lost: {lost}");
    check_ends_well(plane);
}

#[test]
fn a_closed_pipe_loses_lines_and_no_workload() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let plane = check_lives_on(Stdio::from(writer));
    let lost = lines_lost(&plane);
    assert!(lost >= 3, "must count what it lost: {lost}");
    check_ends_well(plane);
}

#[test]
fn a_reader_that_has_stopped_holds_no_caller_up() {
    let (reader, writer) = pipe().unwrap();
    let room = fill(&writer);
    let plane = check_lives_on(Stdio::from(writer));
    assert_eq!(lines_lost(&plane), 0, "must keep what has room");
    let mut rest = String::new();
    let mut reader = std::fs::File::from(reader);
    reader.read_exact(&mut vec![0; room]).unwrap();
    check_ends_well(plane);
    reader.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("\"event\":\"ready\"") && rest.contains("\"event\":\"stopped\""),
        "must say it all once it is read: {rest}"
    );
}

#[test]
fn a_reader_that_has_stopped_does_not_keep_it_from_ending() {
    let (_reader, writer) = pipe().unwrap();
    fill(&writer);
    check_ends_well(check_lives_on(Stdio::from(writer)));
}

/// Starts one whose log goes to `log`; a request wakes its workload, which comes up.
fn check_lives_on(log: Stdio) -> ControlPlane {
    let port = free_port();
    let plane = ControlPlane::start_with_log(&document("web", &listener(port, ""), ""), &[], log);
    plane.report(1, &Value::Null, WANTED);
    plane.until_state("web", "ready");
    plane
}

/// SIGTERM ends it, and its workload with it.
fn check_ends_well(mut plane: ControlPlane) {
    let workloads = children_of(plane.pid().as_raw());
    assert!(!workloads.is_empty(), "must have a workload");
    plane.kill(Signal::SIGTERM);
    assert_eq!(plane.exit_code(), Some(0), "must end well");
    for pid in workloads {
        assert!(!runs(pid), "must leave nothing behind: {pid}");
    }
}

/// All descendants.
fn children_of(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(path).unwrap().flatten();
    let mut all = Vec::new();
    for thread in threads {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let child = child.parse().unwrap();
            all.push(child);
            all.extend(children_of(child));
        }
    }
    all
}

/// Makes a pipe as small as it can be and fills it. Returns how much it took.
fn fill(pipe: &OwnedFd) -> usize {
    let size = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let size = usize::try_from(size).unwrap();
    nix::unistd::write(pipe, &vec![b'\n'; size]).unwrap()
}

fn lines_lost(plane: &ControlPlane) -> u64 {
    let (_, metrics) = plane.get("/metrics");
    until("the metric must be there", || {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("holdfast_log_lines_lost_total "))?;
        line.parse().ok()
    })
}
