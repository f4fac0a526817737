//! What people get wrong is refused with one clear line that names file, field and reason.

use std::time::Duration;

use harness::{ControlBuilder, EnvoyBuilder, Process, Stack, Target, binaries, eventually, free_port};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_bad_plugin_configuration_is_one_line_in_envoys_log() {
    let cases: [(&str, Value, &[&str]); 5] = [
        (
            "limit",
            json!({}),
            &["unknown field `limit`", "expected one of", "limits"],
        ),
        (
            "control_plane.cluster",
            json!(""),
            &["`control_plane.cluster` must not be empty"],
        ),
        (
            "startup.wait",
            json!("2"),
            &["startup.wait", "\"2\" is not a duration"],
        ),
        (
            "startup.then",
            json!("wait"),
            &["startup.then", "unknown variant `wait`", "`pass`"],
        ),
        (
            "limits.requests",
            json!(0),
            &["`limits.requests` must be at least 1"],
        ),
    ];
    for (field, value, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let envoy = EnvoyBuilder::new(free_port(), &[])
            .singleton(false)
            .setting(field, value);
        let envoy = envoy.launch(dir.path());

        let line = the_only_line(envoy.process(), "plugin configuration").await;

        for part in expected {
            assert!(line.contains(part), "{field}: must say {part:?}: {line}");
        }
    }
}

#[tokio::test]
async fn bad_targets_are_one_line_and_an_exit_code() {
    let mut unknown = Target::http("web").document();
    unknown["spec"]["hold"] = json!({"timeuot": "3s"});
    let mut value = Target::http("web").document();
    value["spec"]["hold"] = json!({"timeout": "60"});
    let mut missing = Target::http("web").document();
    missing["spec"]["match"] = json!({});
    let cases: [(String, &[&str]); 5] = [
        (
            unknown.to_string(),
            &["document 1", "spec.hold", "unknown field `timeuot`", "`timeout`"],
        ),
        (
            value.to_string(),
            &["document 1", "spec.hold.timeout", "\"60\" is not a duration"],
        ),
        (
            missing.to_string(),
            &[
                "document 1 (default/web)",
                "spec.match",
                "neither a host nor a cluster",
            ],
        ),
        ("kind: [".to_owned(), &["document 1"]),
        (String::new(), &["holds no ScaleTarget document"]),
    ];
    for (yaml, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let control = ControlBuilder::new().launch(dir.path(), &yaml);

        let line = the_only_line(control.process(), "targets.yaml").await;

        let ended = eventually("the control plane ends", SECOND * 5, || async {
            control.process().exited()
        })
        .await;
        assert_eq!(ended.code(), Some(1), "must end with 1: {line}");
        for part in expected {
            assert!(line.contains(part), "must say {part:?}: {line}");
        }
        assert_eq!(
            control.log().lines().count(),
            1,
            "must say nothing else: {}",
            control.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_edit_of_the_targets_is_one_line_and_changes_nothing() {
    let stack = Stack::builder().target(Target::http("web")).start().await;

    let good = stack.target("web").document();
    let mut bad = good.clone();
    bad["spec"]["idle"] = json!({"after": "soon"});
    stack.control.write_targets(&bad.to_string());

    let line = the_only_line(stack.control.process(), "targets.yaml").await;
    for part in [
        "spec.idle.after",
        "\"soon\" is not a duration",
        "keeping the last good targets",
    ] {
        assert!(line.contains(part), "must say {part:?}: {line}");
    }
    assert_eq!(
        stack.client("web").get("/hello").send().await.status,
        200,
        "the last good ones must stand"
    );
    let mut mended = good;
    mended["spec"]["hold"] = json!({"timeout": "7s"});
    stack.control.write_targets(&mended.to_string());
    eventually("the mended file is taken", SECOND * 5, || async {
        stack.control.log().contains("targets changed")
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("targets.yaml");
    std::fs::write(&file, Target::http("web").document().to_string()).unwrap();
    let args = ["serve", "--targets", file.to_str().unwrap(), "--listen", &address].map(str::to_owned);
    let log = dir.path().join("log");
    let control = Process::start("control-plane", &binaries::control_plane(), &args, &[], &log);

    let line = the_only_line(&control, "in use").await;

    for part in [address.as_str(), "--listen", "HOLDFAST_LISTEN"] {
        assert!(line.contains(part), "must say {part:?}: {line}");
    }
    let ended = eventually("the control plane ends", SECOND * 5, || async {
        control.exited()
    })
    .await;
    assert_eq!(ended.code(), Some(1), "must end with 1: {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_match_is_one_line_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let targets = [Target::http("web")];
    let control = ControlBuilder::new().args(["--token", "right-one"]);
    let control = control
        .start(dir.path(), &targets[0].document().to_string())
        .await;
    let envoy = EnvoyBuilder::new(control.port(), &targets)
        .setting("control_plane.token_env", "HOLDFAST_TOKEN")
        .env("HOLDFAST_TOKEN", "wrong-one");
    let envoy = envoy.start(dir.path()).await;

    let line = the_only_line(envoy.process(), "401").await;

    for part in [
        "the control plane refused the token",
        "control_plane.token_env",
        "--token",
    ] {
        assert!(line.contains(part), "must say {part:?}: {line}");
    }
    let unauthorized = control.metric("holdfast_unauthorized_total", &[]).await;
    assert!(unauthorized >= 1.0, "the control plane must count it");
    let without = control.client().get("/v1/targets").send().await;
    assert_eq!(
        (without.status, without.problem().status),
        (401, 401),
        "{without:?}"
    );
    for secret in ["right-one", "wrong-one"] {
        assert!(!envoy.log().contains(secret), "Envoy's log must not show a token");
        assert!(
            !envoy.config_dump().await.contains(secret),
            "config_dump must not show a token"
        );
        assert!(
            !control.log().contains(secret),
            "the control plane's log must not show a token"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_matches_lets_the_filter_in() {
    let stack = Stack::builder()
        .target(Target::http("web"))
        .control(|control| control.env("HOLDFAST_TOKEN", "right-one"))
        .envoy(|envoy| {
            envoy
                .setting("control_plane.token_env", "HOLDFAST_TOKEN")
                .env("HOLDFAST_TOKEN", "right-one")
        })
        .start()
        .await;

    let reply = stack.client("web").get("/hello").send().await;

    assert_eq!((reply.status, reply.held().is_some()), (200, true), "{reply:?}");
}

/// Waits for the first line with `part` in what the process prints. There must be no second one.
async fn the_only_line(process: &Process, part: &str) -> String {
    let line = eventually(&format!("a line with {part:?}"), SECOND * 20, || async {
        // The last line may be half written.
        let log = process.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().find(|line| line.contains(part)).map(str::to_owned)
    })
    .await;
    let log = process.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(part)).collect();
    assert_eq!(lines, [line.as_str()], "one line must be enough");
    line
}
