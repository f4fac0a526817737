//! "Ready" is said before the port listens: nobody is sent into a closed door, and nobody is kept out of an open one.

use std::time::Duration;

use e2e::grpc::say;
use e2e::{Pending, Stack, Target, both_relays, eventually, free_port};
use futures_util::future::join_all;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn no_request_fails_though_the_port_listens_later(stack: StackBuilder) {
        let stack = stack.target(too_soon(Target::http("web"), "1s")).start().await;
        check_nobody_is_sent_too_early(&stack, SECOND * 5).await;
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

        check_nobody_is_sent_too_early(&stack, SECOND * 8).await;

        assert_eq!(ejections(&stack).await, 0, "must ask so seldom that Envoy goes on using its only host");
    }

    async fn a_host_that_was_ejected_is_waited_for(stack: StackBuilder) {
        // Longer than four questions take; the fifth one that is refused costs the host its place.
        let web = too_soon(quick_to_eject(Target::http("web")), "6s");
        let stack = stack.target(web).start().await;

        check_nobody_is_sent_too_early(&stack, SECOND * 20).await;

        assert!(ejections(&stack).await > 0, "must have been ejected, or the test shows nothing");
    }
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

/// Five refused connections in a row, of whomever, and Envoy has no host any more.
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
async fn check_nobody_is_sent_too_early(stack: &Stack, within: Duration) {
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
