//! What has to be known before a release is that this Envoy reaches the workload, and there is more than one way to say
//! yes. Which, is a table in docs/confirm.md. A server that closes a connection says so beforehand here: one that does
//! not may close it under the next request, whichever gate asks.

use std::time::Duration;

use futures_util::future::join_all;
use harness::grpc::raw_unary;
use harness::{
    Culprit, EnvoyBuilder, Fault, Health, NoCall, OtherName, Pending, Reply, Stack, Target, Tls, eventually,
};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const EJECTIONS: &str = "cluster.web.outlier_detection.ejections_enforced_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_whose_first_answer_takes_long_is_asked_once() {
    let culprit = Culprit::start(Fault::Late(SECOND * 3)).await;
    let stack = start(&culprit, Target::http("web"), 2).await;

    let reply = stack.client("web").get("/hello").send().await;

    assert_eq!(reply.status, 200, "must be released: {reply:?}");
    assert_eq!(culprit.asked(), 1, "a late answer is a yes");
    assert_eq!(
        stack.envoy.stat("cluster.web.upstream_rq_timeout").await,
        0,
        "must count no time-out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_the_question_badly_is_believed_after_a_while() {
    for fault in [
        Fault::Closes,
        Fault::Silent,
        Fault::Cut("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        Fault::Cut("SSH-2.0-OpenSSH_9.6\r\n"),
    ] {
        let culprit = Culprit::start(Fault::Questions(Box::new(fault.clone()))).await;
        let web = eject_after_five(Target::http("web"));
        let stack = start(&culprit, web, 4).await;

        let calls: Vec<Pending> = (0..8)
            .map(|_| stack.client("web").get("/hello").spawn())
            .collect();

        for reply in join_all(calls.into_iter().map(Pending::reply)).await {
            assert_eq!(reply.status, 200, "{fault:?}: must be released: {reply:?}");
            assert!(
                reply.held() >= Some(SECOND * 5),
                "{fault:?}: only after confirm.giveUp: {reply:?}"
            );
        }
        assert_eq!(
            stack.envoy.stat(EJECTIONS).await,
            0,
            "{fault:?}: must get no host ejected"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_enough() {
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for fault in [
        Fault::Cut("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1000\r\n\r\nonly these bytes."),
        Fault::Endless(events, "9\r\ndata: x\n\n\r\n", Duration::from_millis(50)),
        Fault::Cut("HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let culprit = Culprit::start(Fault::Questions(Box::new(fault.clone()))).await;
        let stack = start(&culprit, Target::http("web"), 2).await;

        let reply = stack.client("web").get("/hello").send().await;

        assert_eq!(reply.status, 200, "{fault:?}: must be released: {reply:?}");
        assert_eq!(culprit.asked(), 1, "{fault:?}: must be a yes at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_nothing_but_grpc_is_believed() {
    for (no_call, at_once) in [
        // What servers in Go say to another content type, and those in C or of older versions do.
        (NoCall::Says(415), true),
        (NoCall::Resets, false),
        (NoCall::Closes, false),
    ] {
        let culprit = Culprit::start(Fault::OnlyGrpc(no_call)).await;
        let echo = Target::grpc("echo")
            .spec("confirm.grpc", false)
            .spec("confirm.giveUp", "2s")
            .spec("hold.timeout", "10s");
        let stack = start(&culprit, echo, 2).await;

        let reply = raw_unary(&stack.client("echo").http2().await, "hello")
            .send()
            .await;

        assert_eq!(
            (reply.status, reply.grpc_status()),
            (200, Some(0)),
            "{no_call:?}: must be released: {reply:?}"
        );
        assert_eq!(culprit.served(), 1, "{no_call:?}: must be called once");
        if at_once {
            assert_eq!(culprit.asked(), 1, "{no_call:?}: any answer is a yes");
        } else {
            assert!(
                reply.held() >= Some(SECOND * 2),
                "{no_call:?}: only after confirm.giveUp: {reply:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_workload_of_one_thread_serves_the_clients_of_every_worker() {
    let culprit = Culprit::start(Fault::OneAtATime(SECOND / 2)).await;
    let web = eject_after_five(Target::http("web")).spec("hold.timeout", "7s");
    let stack = start(&culprit, web, 4).await;

    let clients = (0..8).map(|_| async {
        let client = stack.client("web");
        let mut replies = Vec::new();
        for _ in 0..4 {
            replies.push(client.get("/hello").send().await);
        }
        replies
    });
    let replies: Vec<Reply> = join_all(clients).await.into_iter().flatten().collect();

    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "no request may starve: {replies:?}"
    );
    assert!(
        culprit.asked() <= 4,
        "must be asked once by each worker: {}",
        culprit.asked()
    );
    assert_eq!(
        stack.envoy.stat("cluster.web.upstream_rq_timeout").await,
        0,
        "must count no time-out"
    );
    assert_eq!(stack.envoy.stat(EJECTIONS).await, 0, "must get no host ejected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_a_host_is_a_no_without_end_and_is_told() {
    let mut web = Target::http("web").spec("hold.timeout", "8s");
    // The control plane finds it ready elsewhere.
    web.port = harness::free_port();
    let stack = Stack::builder().target(web).start().await;

    let call = stack.client("web").get("/hello").spawn();
    let told = eventually("the control plane is told", SECOND * 7, || async {
        let target = stack.control.target("web").await;
        unreached(&target)
    })
    .await;
    let reply = call.reply().await;

    assert_eq!(
        (told["cluster"].as_str(), told["saw"].as_str()),
        (Some("web"), Some("refused")),
        "{told}"
    );
    assert_eq!(reply.status, 504, "{reply:?}");
    let problem = reply.problem();
    assert_eq!(problem.kind, "urn:holdfast:hold-timeout");
    assert_eq!(
        problem.title,
        "The workload is ready, but this proxy does not reach it"
    );
    let tries = stack.envoy.stat("cluster.web.upstream_cx_connect_fail").await;
    assert!(
        (2..=6).contains(&tries),
        "must be asked at the promised pace: {tries} times"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_serve_is_not_released_to() {
    let culprit = Culprit::start(Fault::Health(Health::Says(2))).await;
    let echo = Target::grpc("echo").spec("hold.timeout", "3s");
    let stack = start(&culprit, echo, 2).await;

    let call = raw_unary(&stack.client("echo").http2().await, "hello").spawn();
    let told = eventually("the control plane is told", SECOND * 5, || async {
        unreached(&stack.control.target("echo").await)
    })
    .await;
    let reply = call.reply().await;

    assert_eq!(told["saw"].as_str(), Some("NOT_SERVING"), "{told}");
    assert_eq!(
        reply.grpc_status(),
        Some(4),
        "must be told that its time is up: {reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_says_the_host_that_the_route_says() {
    let culprit = Culprit::start(Fault::Host("inner.test")).await;
    for (authority, asks_much) in [(Some("inner.test"), false), (None, true)] {
        let mut web = culprit.behind(Target::http("web").spec("hold.timeout", "15s"));
        if let Some(authority) = authority {
            web = web.spec("confirm.authority", authority);
        }
        let stack = Stack::builder().target(web).envoy(rewrite_to_inner).start().await;
        let before = culprit.asked();

        let reply = stack.client("web").get("/hello").send().await;

        assert_eq!(reply.status, 200, "must be released: {reply:?}");
        assert_eq!(
            culprit.asked() - before > 1,
            asks_much,
            "{authority:?}: only the right host is a yes at once"
        );
    }
}

/// What Envoy asks a server for by SNI, and whose certificate it wants to see, is the host of the request, and that of the question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_asks_by_tls_for_the_name_that_it_says() {
    for other in [OtherName::Refused, OtherName::Shown] {
        let tls = Tls::of("inner.test", other);
        let culprit = Culprit::start_with_tls(Fault::Host("inner.test"), &tls).await;
        let web = tls.expected_by(culprit.behind(Target::http("web")));
        let web = web.spec("confirm.authority", "inner.test");
        let stack = behind_another_name(web, false).await;

        let reply = stack.client("web").get("/hello").send().await;

        assert_eq!(reply.status, 200, "{other:?}: must be released: {reply:?}");
        assert_eq!(culprit.asked(), 1, "{other:?}: must be a yes at once");
        let fails = stack.envoy.stat("cluster.web.upstream_cx_connect_fail").await;
        assert_eq!(fails, 0, "{other:?}: no handshake must have failed");
    }
}

/// Since 1.38.1 Envoy keeps to itself that it was TLS that failed, unless it is told otherwise: then no host took the connection, as far
/// as can be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_in_another_name_is_believed_if_envoy_says_that_it_was_one() {
    for other in [OtherName::Refused, OtherName::Shown] {
        let tls = Tls::of("inner.test", other);
        let culprit = Culprit::start_with_tls(Fault::Host("inner.test"), &tls).await;
        let web = tls
            .expected_by(culprit.behind(Target::http("web")))
            .spec("confirm.giveUp", "2s")
            .spec("hold.timeout", "8s");

        let stack = behind_another_name(web.clone(), true).await;
        let reply = stack.client("web").get("/hello").send().await;
        assert_eq!(reply.status, 200, "{other:?}: must be released: {reply:?}");
        assert!(
            reply.held() >= Some(SECOND * 2),
            "{other:?}: only after confirm.giveUp: {reply:?}"
        );
        drop(stack);

        let stack = behind_another_name(web, false).await;
        let call = stack.client("web").get("/hello").spawn();
        let told = eventually("the control plane is told", SECOND * 8, || async {
            unreached(&stack.control.target("web").await)
        })
        .await;
        assert_eq!(told["saw"].as_str(), Some("refused"), "{other:?}: {told}");
        let reply = call.reply().await;
        assert_eq!(reply.status, 504, "{other:?}: {reply:?}");
        assert_eq!(
            reply.problem().title,
            "The workload is ready, but this proxy does not reach it"
        );
        assert_eq!(culprit.asked(), 0, "{other:?}: no question must get through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_get_no_host_ejected_by_asking_one_that_is_not_there_yet() {
    let ready = harness::free_port();
    let web = eject_after_five(Target::http("web"))
        .upstream([
            "--start-delay",
            "7s",
            "--ready-listen",
            &format!("127.0.0.1:{ready}"),
        ])
        .spec(
            "workload.process.ready",
            json!({"http": {"port": ready, "path": "/ready"}}),
        );
    let stack = Stack::builder()
        .target(web)
        .envoy(|envoy| envoy.workers(4))
        .start()
        .await;

    let calls: Vec<Pending> = (0..16)
        .map(|_| stack.client("web").get("/hello").spawn())
        .collect();
    eventually("Envoy has been refused four times", SECOND * 10, || async {
        stack.envoy.stat("cluster.web.upstream_cx_connect_fail").await >= 4
    })
    .await;
    assert_eq!(
        stack.envoy.stat(EJECTIONS).await,
        0,
        "must not have been asked a fifth time by then"
    );

    for reply in join_all(calls.into_iter().map(Pending::reply)).await {
        assert_eq!(reply.status, 200, "must be released once it is there: {reply:?}");
    }
}

/// The route says another host than the client.
fn rewrite_to_inner(envoy: EnvoyBuilder) -> EnvoyBuilder {
    let route = json!({"cluster": "web", "timeout": "0s", "host_rewrite_literal": "inner.test"});
    envoy.hcm("route_config.virtual_hosts.0.routes.0.route", route)
}

/// The route says another host than the client, and Envoy says why TLS has failed, or does not.
async fn behind_another_name(web: Target, says_why: bool) -> Stack {
    let guard = "envoy.reloadable_features.hide_transport_failure_reason_in_response_body";
    let layer = json!({"name": "guards", "static_layer": {guard: !says_why}});
    let change = move |envoy| rewrite_to_inner(envoy).patch("/layered_runtime", json!({"layers": [layer]}));
    Stack::builder().target(web).envoy(change).start().await
}

async fn start(culprit: &Culprit, target: Target, workers: u32) -> Stack {
    let target = culprit.behind(target);
    Stack::builder()
        .target(target)
        .envoy(move |envoy| envoy.workers(workers))
        .start()
        .await
}

/// Five failures in a row, of the connection or of a gateway, and Envoy has no host any more.
fn eject_after_five(target: Target) -> Target {
    let outlier_detection = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 5,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "consecutive_5xx": 5,
        "max_ejection_percent": 100,
        "interval": "0.5s",
        "base_ejection_time": "1s",
    });
    target
        .cluster("outlier_detection", outlier_detection)
        .cluster("common_lb_config.healthy_panic_threshold.value", 0)
}

/// What the control plane says of a cluster that an Envoy does not reach.
fn unreached(target: &Value) -> Option<Value> {
    let list = target["unreached"].as_array()?;
    list.first().cloned()
}
