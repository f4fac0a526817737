//! "Ready" is said before the port listens: no request is sent to a closed port, and none is held before an open one.

use std::time::Duration;

use futures_util::future::join_all;
use harness::grpc::{raw_unary, say};
use harness::{Pending, Stack, Target, both_relays, eventually, free_port, holds_for};
use serde_json::json;
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn no_request_fails_though_the_port_listens_later(stack: StackBuilder) {
        let stack = stack.target(too_soon(Target::http("web"), "1s")).start().await;
        check_no_request_is_sent_too_early(&stack, SECOND * 5).await;
    }

    async fn no_grpc_call_fails_though_the_port_listens_later(stack: StackBuilder) {
        let stack = stack.target(too_soon(Target::grpc("echo"), "1s")).start().await;

        let answer = stack.grpc("echo").unary(say("hello")).await;

        assert_eq!(answer.expect("must be answered by the workload").into_inner().message, "hello");
        assert!(stack.envoy.stat("cluster.echo.upstream_cx_connect_fail").await > 0, "Envoy must have been refused");
    }

    async fn the_questions_get_no_host_ejected(stack: StackBuilder) {
        let web = too_soon(quick_to_eject(Target::http("web")), "2s");
        let stack = stack.target(web).start().await;

        check_no_request_is_sent_too_early(&stack, SECOND * 8).await;

        assert_eq!(ejections(&stack).await, 0, "must ask so seldom that Envoy goes on using its only host");
    }

    async fn a_host_that_was_ejected_is_waited_for(stack: StackBuilder) {
        // Longer than four questions take; the fifth one that is refused costs the host its place.
        let web = too_soon(quick_to_eject(Target::http("web")), "6s");
        let stack = stack.target(web).start().await;

        check_no_request_is_sent_too_early(&stack, SECOND * 20).await;

        assert!(ejections(&stack).await > 0, "must have been ejected, or the test shows nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_not_serving_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("not-serving");
    for service in ["", "holdfast.echo.v1.Echo"] {
        std::fs::write(&file, "").unwrap();
        let stack = Stack::builder()
            .target(by_health(service).upstream(["--not-serving-while-exists", file.to_str().unwrap()]))
            .start()
            .await;
        let call = raw_unary(&stack.client("echo").http2().await, "hello").spawn();
        eventually("its port listens", SECOND * 10, || async {
            TcpStream::connect(("127.0.0.1", stack.target("echo").port))
                .await
                .is_ok()
        })
        .await;
        holds_for("it is waking", SECOND, || async {
            stack.control.state("echo").await == "waking" && !call.is_finished()
        })
        .await;

        std::fs::remove_file(&file).unwrap();

        let reply = call.reply().await;
        assert_eq!(
            (reply.status, reply.grpc_status()),
            (200, Some(0)),
            "{service:?}: must be answered once it serves: {reply:?}"
        );
        stack.control.wait_for("echo", "ready").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_service_that_does_not_know_the_name_is_never_ready_and_that_is_said() {
    let echo = by_health("holdfast.echo.v1.Ecco").spec("workload.process.startTimeout", "2s");
    let stack = Stack::builder()
        .target(echo)
        .control(|control| control.args(["--retry-initial", "30s", "--retry-max", "30s"]))
        .start()
        .await;

    let reply = raw_unary(&stack.client("echo").http2().await, "hello")
        .send()
        .await;

    assert_eq!(reply.grpc_status(), Some(14), "must be refused: {reply:?}");
    let port = stack.target("echo").port;
    let why = format!(
        "not ready within 2s (grpc 127.0.0.1:{port} holdfast.echo.v1.Ecco: no such service: NOT_FOUND)"
    );
    let told = stack.control.target("echo").await;
    assert_eq!(told["state"], "failed", "{told}");
    assert!(told.to_string().contains(&why), "must say {why}: {told}");
    assert!(
        stack
            .journal("echo")
            .requests()
            .iter()
            .all(|request| !request.path.ends_with("/Unary")),
        "must be sent nothing"
    );
}

/// Ready is what `grpc.health.v1` says of this service.
fn by_health(service: &str) -> Target {
    let echo = Target::grpc("echo");
    let ready = json!({"grpc": {"port": echo.port, "service": service}});
    echo.spec("workload.process.ready", ready)
}

/// A workload that says that it is ready as soon as it starts, and listens only after `delay`.
fn too_soon(target: Target, delay: &str) -> Target {
    let ready = free_port();
    target
        .upstream(["--start-delay", delay])
        .upstream(["--ready-listen", &format!("127.0.0.1:{ready}")])
        .spec(
            "workload.process.ready",
            json!({"http": {"port": ready, "path": "/ready"}}),
        )
}

/// Five refused connections in a row, whatever they were for, and Envoy has no host any more.
fn quick_to_eject(target: Target) -> Target {
    let outlier_detection = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 5,
        "max_ejection_percent": 100,
        "interval": "0.5s",
        "base_ejection_time": "1s",
    });
    target
        .cluster("outlier_detection", outlier_detection)
        .cluster("common_lb_config.healthy_panic_threshold.value", 0)
}

async fn ejections(stack: &Stack) -> u64 {
    let name = "cluster.web.outlier_detection.ejections_enforced_consecutive_local_origin_failure";
    stack.envoy.stat(name).await
}

/// Requests from before and after the word "ready", on connections of their own, so that both workers have some.
async fn check_no_request_is_sent_too_early(stack: &Stack, within: Duration) {
    let send = |ids: std::ops::Range<usize>| -> Vec<Pending> {
        let client = stack.client("web");
        ids.map(|id| client.get(&format!("/hello?id={id}")).spawn())
            .collect()
    };
    let mut calls = send(0..20);
    stack.control.wait_for("web", "ready").await;
    calls.extend(send(20..40));
    eventually("Envoy has been refused", SECOND * 5, || async {
        stack.envoy.stat("cluster.web.upstream_cx_connect_fail").await > 0
    })
    .await;
    calls.extend(send(40..60));

    let replies = join_all(calls.into_iter().map(Pending::reply)).await;

    for reply in &replies {
        assert_eq!(
            reply.status, 200,
            "must not be sent before Envoy can reach it: {reply:?}"
        );
        assert!(
            reply.took < within,
            "must be released once Envoy can reach it: {:?}",
            reply.took
        );
    }
    let journal = stack.journal("web");
    assert_eq!(journal.requests().len(), 60, "each must arrive, and once");
    assert!(!journal.confirms().is_empty(), "Holdfast must have asked before");
    for _ in 0..20 {
        assert_eq!(
            stack.client("web").get("/hello").send().await.status,
            200,
            "both workers must serve"
        );
    }
}
