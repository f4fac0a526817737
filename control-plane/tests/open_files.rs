//! The control plane may open as many files as it is let; its workloads may open what it began with.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{ControlPlane, document, free_port, listener};

#[test]
fn the_limit_is_raised_for_itself_alone() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > 300, "this machine must allow more");
    // In a process of its own: no other test is in this file.
    setrlimit(Resource::RLIMIT_NOFILE, 300, hard).unwrap();
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    let own = soft_limit(&plane.pid().to_string());
    assert_eq!(own, hard.to_string(), "must be raised");
    plane.post("/v1/targets/default/web/wake", "");
    let workload = plane.event("started", "pid");
    assert_eq!(soft_limit(&workload), "300", "must be what there was before");
}

fn soft_limit(pid: &str) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.unwrap().split_whitespace().nth(3).unwrap().to_owned()
}
