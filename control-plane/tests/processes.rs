//! What local processes do by themselves: end, restart their children, print all the time, turn on their supervisor.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{ControlPlane, binary, document, free_port, listener, pid_in, runs, until};

const WANTED: &str = r#"{"default/web":{"held":1,"idle_ms":0}}"#;

/// Ends with status 0 as soon as `path` is there, which it takes away: its next life goes on.
fn ends_when(path: &std::path::Path) -> String {
    format!(
        "import threading
def watch():
    while not os.path.exists({path:?}): time.sleep(0.005)
    os.remove({path:?})
    os._exit(0)
threading.Thread(target=watch,daemon=True).start()"
    )
}

#[test]
fn one_that_scales_itself_down_sleeps_until_the_next_request() {
    let directory = tempfile::tempdir().unwrap();
    let end = directory.path().join("end");
    let plane = ControlPlane::start(
        &document("web", &listener(free_port(), &ends_when(&end)), ""),
        &[],
    );
    plane.report(1, &Value::Null, WANTED);
    plane.line("ready");
    plane.report(2, &Value::Null, r#"{"default/web":{"idle_ms":500}}"#);
    std::fs::write(&end, "").unwrap();
    let stopping = plane.line("stopping");
    assert_eq!(stopping["why"], "finished", "must be let sleep");
    plane.line("asleep");
    plane.report(3, &Value::Null, WANTED);
    let waking = plane.line("waking");
    assert_eq!(
        (&waking["from"], &waking["why"]),
        (&"asleep".into(), &"demand".into()),
        "must not have been started before"
    );
    plane.line("ready");
}

#[test]
fn a_process_that_ends_while_it_is_used_is_started_again() {
    check_restarted("", r#"{"default/web":{"in_flight":1,"idle_ms":0}}"#);
}

#[test]
fn one_that_is_to_run_always_is_started_again() {
    check_restarted("restart: always, ", "{}");
}

fn check_restarted(option: &str, usage: &str) {
    let directory = tempfile::tempdir().unwrap();
    let end = directory.path().join("end");
    let process = listener(free_port(), &ends_when(&end)).replace("stopGrace", &format!("{option}stopGrace"));
    let plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("ready");
    plane.report(2, &Value::Null, usage);
    std::fs::write(&end, "").unwrap();
    let waking = plane.line("waking");
    assert_eq!(
        (&waking["from"], &waking["why"]),
        (&"ready".into(), &"lost".into()),
        "must be started again"
    );
    plane.line("ready");
}

/// A parent that starts its child anew as long as `stay` is not there.
#[test]
fn one_whose_child_restarts_is_held_for_until_it_listens() {
    let directory = tempfile::tempdir().unwrap();
    let (child, go) = (directory.path().join("child"), directory.path().join("go"));
    let port = free_port();
    let code = format!(
        "import os,subprocess,sys,time
while True:
    child=subprocess.Popen([sys.executable,'-m','http.server','{port}','--bind','127.0.0.1'])
    open({child:?},'w').write(str(child.pid))
    child.wait()
    while not os.path.exists({go:?}): time.sleep(0.005)"
    );
    let code = serde_json::to_string(&code).unwrap();
    let process = format!("{{command: [python3, -c, {code}], ready: {{tcp: {{port: {port}}}}}}}");
    let plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let parent: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    kill(Pid::from_raw(pid_in(&child)), Signal::SIGKILL).unwrap();
    let waking = plane.line("waking");
    assert_eq!(
        (&waking["from"], &waking["why"]),
        (&"ready".into(), &"lost".into()),
        "must be found out"
    );
    std::fs::write(&go, "").unwrap();
    plane.line("ready");
    assert_eq!(plane.target("web")["epoch"], 2, "must be a new epoch");
    assert!(runs(parent), "must be the same process");
}

#[test]
fn one_is_asked_to_end_by_its_own_signal() {
    let directory = tempfile::tempdir().unwrap();
    let heard = directory.path().join("heard");
    let prelude = format!(
        "signal.signal(signal.SIGTERM,signal.SIG_IGN)
def end(*_):
    open({heard:?},'w').write('heard')
    os._exit(0)
signal.signal(signal.SIGQUIT,end)"
    );
    let process =
        listener(free_port(), &prelude).replace("stopGrace: 300ms", "stopGrace: 60s, stopSignal: SIGQUIT");
    let mut plane = ControlPlane::start(&document("web", &process, ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("ready");
    plane.kill(Signal::SIGTERM);
    assert_eq!(
        plane.line("reaped")["code"],
        0,
        "must end well, long before it is killed"
    );
    assert_eq!(plane.exit_code(), Some(0), "must end well");
    assert_eq!(
        std::fs::read_to_string(heard).unwrap(),
        "heard",
        "must have been asked"
    );
}

#[test]
fn a_killed_supervisor_takes_its_workload_along() {
    let plane = ControlPlane::start(&document("web", &listener(free_port(), ""), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let supervisor = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert_ne!(supervisor, plane.pid().as_raw(), "must stand between");
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    until("the workload must be gone", || (!runs(pid)).then_some(()));
    plane.until_state("web", "ready");
}

/// Kills its parent, with a child in a session of its own that has lost its parent.
#[test]
fn one_that_kills_its_supervisor_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (go, left) = (directory.path().join("go"), directory.path().join("left"));
    let prelude = format!(
        "if os.fork()==0:
    os.setsid()
    if os.fork()==0:
        open({left:?},'w').write(str(os.getpid()))
        os.execvp('sleep',['sleep','600'])
    os._exit(0)
import threading
def watch():
    while not os.path.exists({go:?}): time.sleep(0.005)
    os.remove({go:?})
    os.kill(os.getppid(),signal.SIGKILL)
threading.Thread(target=watch,daemon=True).start()"
    );
    let plane = ControlPlane::start(&document("web", &listener(free_port(), &prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let own: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    let left = pid_in(&left);
    assert!(runs(left) && runs(own), "must both run");
    std::fs::write(&go, "").unwrap();
    plane.line("waking");
    assert!(!runs(own), "must be gone before it is started again");
    assert!(!runs(left), "what it left must be gone as well");
    plane.line("started");
}

#[test]
fn one_that_stops_its_supervisor_is_ended_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let stopped = directory.path().join("stopped");
    let prelude = format!(
        "import threading
def stop():
    while not os.path.exists({stopped:?}): time.sleep(0.005)
    os.kill(os.getppid(),signal.SIGSTOP)
    os.remove({stopped:?})
threading.Thread(target=stop,daemon=True).start()"
    );
    let mut plane = ControlPlane::start(&document("web", &listener(free_port(), &prelude), ""), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    std::fs::write(&stopped, "").unwrap();
    until("it must stop its supervisor", || {
        (!stopped.exists()).then_some(())
    });
    plane.kill(Signal::SIGTERM);
    assert_eq!(plane.exit_code(), Some(0), "must end");
    assert!(!runs(pid), "must leave nothing behind");
}

#[test]
fn options_and_secrets_of_the_control_plane_are_not_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let (own, supervisor) = (directory.path().join("own"), directory.path().join("supervisor"));
    let prelude = format!(
        "open({supervisor:?},'wb').write(open('/proc/%d/environ'%os.getppid(),'rb').read())
open({own:?},'w').write(chr(10).join(k+'='+v for k,v in os.environ.items()))"
    );
    let process =
        listener(free_port(), &prelude).replace("stopGrace", "env: {HOLDFAST_GIVEN: yes it is}, stopGrace");
    let variables = [("HOLDFAST_SECRET", "s3cret"), ("OTHER", "inherited")];
    let plane = ControlPlane::start_with_env(&document("web", &process, ""), &variables);
    plane.report(1, &Value::Null, WANTED);
    plane.line("ready");
    for path in [own, supervisor] {
        let environment = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(
            !environment.contains("s3cret") && !environment.contains("HOLDFAST_SECRET"),
            "must not be inherited: {environment}"
        );
        assert!(
            environment.contains("OTHER=inherited") && environment.contains("HOLDFAST_GIVEN=yes it is"),
            "must have what it is given: {environment}"
        );
    }
}

/// What a workload prints costs its supervisor and the control plane nothing by line.
#[test]
fn a_million_lines_are_two_reports() {
    let printed = "yes 'a line of output' | head -n 1000000; yes 'an error' | head -n 1000000 >&2; echo last words >&2; exit 3";
    let reports = supervised(&[], printed);
    assert_eq!(reports.len(), 2, "must not speak of lines: {:?}", reports.get(1));
    let gone = &reports.last().unwrap()["gone"];
    assert_eq!(
        (&gone["code"], &gone["last"]),
        (&3.into(), &"last words".into()),
        "must know what it said last"
    );
}

#[test]
fn output_that_is_asked_for_is_passed_on_as_far_as_it_can_be_read() {
    let reports = supervised(&["--output"], "echo first; yes | head -n 200000; echo last >&2");
    let lines = reports.iter().filter(|report| report["out"].is_object()).count();
    let left_out = |report: &Value| report["left_out"]["lines"].as_u64();
    let left_out: u64 = reports.iter().filter_map(left_out).sum();
    assert_eq!(
        u64::try_from(lines).unwrap() + left_out,
        200_001,
        "must account for every line"
    );
    assert!(left_out > 0, "must not pass on more than can be read");
    assert_eq!(reports[1]["out"]["line"], "first", "must pass on from the start");
    assert!(
        reports.iter().any(|report| report["err"]["line"] == "last"),
        "must pass on both outputs"
    );
}

/// All that a supervisor says of a shell that runs `script`.
fn supervised(options: &[&str], script: &str) -> Vec<Value> {
    let mut supervisor = binary()
        .arg("supervise")
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = supervisor.stdout.take().unwrap();
    let reports = BufReader::new(stdout)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    until("the supervisor must end", || supervisor.try_wait().unwrap());
    reports
}
