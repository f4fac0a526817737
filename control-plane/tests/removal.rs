//! Targets that are removed or renamed while the real binary runs their processes.

mod support;

use serde_json::Value;
use support::{ControlPlane, document, free_port, listener, runs, until};

const WANTED: &str = r#"{"default/web":{"held":1,"idle_ms":0}}"#;

#[test]
fn one_that_is_removed_while_it_runs_goes_on_and_is_known_again() {
    let web = document("web", &listener(free_port(), ""), "");
    let other = document("other", &listener(free_port(), ""), "");
    let both = format!("{web}---\n{other}");
    let plane = ControlPlane::start(&both, &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    std::fs::write(plane.targets_file(), &other).unwrap();
    plane.line("dropped");
    assert!(runs(pid), "must be left alone");
    std::fs::write(plane.targets_file(), &both).unwrap();
    plane.until_state("web", "ready");
    assert!(runs(pid), "must be the same process");
}

#[test]
fn one_that_is_removed_while_asleep_is_let_go_and_not_started() {
    let web = document("web", &listener(free_port(), ""), "");
    let other = document("other", &listener(free_port(), ""), "");
    let plane = ControlPlane::start(&format!("{web}---\n{other}"), &[]);
    std::fs::write(plane.targets_file(), &other).unwrap();
    assert_eq!(
        plane.line("dropped")["target"],
        "default/web",
        "must be let go at once"
    );
    assert_eq!(plane.get("/v1/targets/default/web").0, 404, "must be gone");
}

#[test]
fn one_that_is_removed_after_it_failed_is_let_go() {
    let broken = format!(
        "{{command: [sh, -c, 'exit 3'], ready: {{tcp: {{port: {}}}}}}}",
        free_port()
    );
    let other = document("other", &listener(free_port(), ""), "");
    let plane = ControlPlane::start(&format!("{}---\n{other}", document("web", &broken, "")), &[]);
    plane.report(1, &Value::Null, WANTED);
    plane.line("failed");
    // They were refused.
    plane.report(2, &Value::Null, "{}");
    std::fs::write(plane.targets_file(), &other).unwrap();
    assert_eq!(
        plane.line("dropped")["target"],
        "default/web",
        "must not be tried for ever"
    );
}

/// As `web`, under another name.
fn renamed(document: &str) -> String {
    document.replace("{name: web}", "{name: shop}")
}

#[test]
fn one_that_is_renamed_goes_on_and_falls_asleep_under_its_name() {
    let web = document("web", &listener(free_port(), ""), "idle: {after: 300ms}");
    let plane = ControlPlane::start(&web, &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    std::fs::write(plane.targets_file(), renamed(&web)).unwrap();
    assert_eq!(plane.line("renamed")["from"], "default/web");
    let shop = plane.target("shop");
    assert_eq!(
        (&shop["state"], &shop["epoch"]),
        (&"ready".into(), &1.into()),
        "must go on as it was"
    );
    assert_eq!(
        plane.get("/v1/targets/default/web").0,
        404,
        "must not be there twice"
    );
    assert!(runs(pid), "must be the same process");
    let mut seq = 2;
    until("it must fall asleep", || {
        let now = plane.sync(&Value::Null, 0);
        plane.report(seq, &now["revision"], "{}");
        seq += 1;
        (plane.target("shop")["state"] == "asleep").then_some(())
    });
    assert!(!runs(pid), "must be stopped under its name");
    plane.report(seq, &Value::Null, &WANTED.replace("web", "shop"));
    plane.until_state("shop", "ready");
}

/// The file is written in two steps, or the targets are in different files by turns.
#[test]
fn one_that_comes_back_under_another_name_takes_its_process_over() {
    let web = document("web", &listener(free_port(), ""), "");
    let other = document("other", &listener(free_port(), ""), "");
    let plane = ControlPlane::start(&format!("{web}---\n{other}"), &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    std::fs::write(plane.targets_file(), &other).unwrap();
    plane.line("dropped");
    std::fs::write(plane.targets_file(), format!("{}---\n{other}", renamed(&web))).unwrap();
    until("it must be known under its name", || {
        (plane.get("/v1/targets/default/shop").0 == 200).then_some(())
    });
    plane.until_state("shop", "ready");
    assert!(runs(pid), "must be the same process");
}

/// Its address is needed: whatever else runs there is no target's any more.
#[test]
fn another_program_at_the_address_of_a_removed_one_takes_its_place() {
    let port = free_port();
    let web = document("web", &listener(port, ""), "");
    let another = document("another", &listener(port, "# another"), "");
    let plane = ControlPlane::start(&web, &[]);
    plane.report(1, &Value::Null, WANTED);
    let pid: i32 = plane.event("started", "pid").parse().unwrap();
    plane.line("ready");
    std::fs::write(plane.targets_file(), &another).unwrap();
    plane.line("dropped");
    plane.report(2, &Value::Null, &WANTED.replace("web", "another"));
    plane.until_state("another", "ready");
    assert!(!runs(pid), "must not be what answers now");
}
