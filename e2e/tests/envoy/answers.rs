//! Calls of the module's own that end badly, by whatever is asked: the VM lives, and no other request notices. Each used to cost
//! a worker's VM, and with it what that worker held of all targets.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{
    Culprit, Cutter, Fault, Health, Pending, Stack, StackBuilder, Target, both_relays, eventually,
};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
/// Questions that end badly. One was enough to end a VM.
const TIMES: usize = 10;
/// Connections that are held, so that both workers hold some.
const HELD: usize = 8;
const SYNC: &str = "/v1/sync";
const REPORT: &str = "/v1/report";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_in_its_body() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly these bytes.";
    check(Fault::Cut(cut), Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_in_its_headers() {
    check(Fault::Cut("HTTP/1.1 200 OK\r\ncontent-le"), Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_never_end() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let events = Fault::Endless(head, "9\r\ndata: x\n\n\r\n", Duration::from_millis(50));
    check(events, Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_takes_longer_than_the_question_may() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    check(Fault::Endless(head, "x", Duration::from_millis(50)), Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_larger_than_envoy_keeps() {
    // 32 MiB are what it keeps of an answer to a call.
    let chunk: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
    check(Fault::Endless(head, chunk, Duration::ZERO), Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_at_all() {
    check(Fault::Silent, Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_closed() {
    check(Fault::Closes, Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_is_reset_after_its_headers() {
    check(Fault::Health(Health::ResetAfterHeaders), Target::grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_stops_after_its_headers() {
    check(Fault::Health(Health::OnlyHeaders), Target::grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_changed_while_it_is_asked() {
    check_changes_of_clusters(Fault::Silent, Target::http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_changed_while_its_health_is_checked() {
    check_changes_of_clusters(Fault::Health(Health::OnlyHeaders), Target::grpc).await;
}

both_relays! {
    async fn a_sync_that_is_cut_in_its_answer(stack: StackBuilder) {
        let (stack, cutter) = behind_a_cutter(stack).await;
        let held = hold(&stack).await;

        cutter.cut(SYNC);

        eventually("ten are cut", SECOND * 30, || async { cutter.spoilt() >= TIMES }).await;
        cutter.pass();
        check_no_request_noticed(&stack, held).await;
    }

    async fn a_report_that_is_cut_in_its_answer(stack: StackBuilder) {
        let (stack, cutter) = behind_a_cutter(stack).await;

        cutter.cut(REPORT);

        let held = hold_unreported(&stack).await;
        eventually("ten are cut", SECOND * 30, || async { cutter.spoilt() >= TIMES }).await;
        cutter.pass();
        check_no_request_noticed(&stack, held).await;
    }

    async fn the_control_planes_cluster_is_changed_and_removed_while_it_is_asked(stack: StackBuilder) {
        let (mut stack, cutter) = behind_a_cutter(stack).await;
        let held = hold(&stack).await;
        for kept in [SYNC, REPORT] {
            for n in 0..4 {
                // A call is open, and no answer on its way.
                let before = cutter.spoilt();
                cutter.keep(kept);
                let leave = stack.client("cold").get("/hello").spawn();
                eventually("a call is open", SECOND * 15, || async { cutter.spoilt() > before }).await;
                let away: &[&str] = if n % 2 == 0 { &[] } else { &["holdfast"] };
                let timeout = format!("{}s", n + 2);
                stack.envoy.reload(|envoy| envoy.patch(CONTROL_TIMEOUT, timeout).without_clusters(away.iter().copied())).await;
                stack.envoy.reload(|envoy| envoy.without_clusters([])).await;
                cutter.pass();
                leave.leave().await;
            }
        }
        check_no_request_noticed(&stack, held).await;
    }
}

const CONTROL_TIMEOUT: &str = "/static_resources/clusters/0/connect_timeout";

/// Ten targets behind one culprit are asked while others wait for something else.
async fn check(fault: Fault, kind: fn(&str) -> Target) {
    let culprit = Culprit::start(fault).await;
    let stack = with_culprits(&culprit, kind, "300ms").await;
    let held = hold(&stack).await;

    let calls = call_culprits(&stack);

    eventually("ten are asked", SECOND * 20, || async {
        culprit.asked() >= TIMES
    })
    .await;
    eventually("ten have ended", SECOND * 20, || async {
        questions_that_ended(&stack).await >= TIMES as u64
    })
    .await;
    for call in calls {
        call.leave().await;
    }
    check_no_request_noticed(&stack, held).await;
}

/// Clusters are changed, removed and put back while a question is open in each of them.
async fn check_changes_of_clusters(fault: Fault, kind: fn(&str) -> Target) {
    let culprit = Culprit::start(fault).await;
    let mut stack = with_culprits(&culprit, kind, "60s").await;
    let held = hold(&stack).await;
    let names: Vec<String> = (0..TIMES).map(name).collect();
    let names = || names.iter().map(String::as_str);

    let calls = call_culprits(&stack);
    for round in 1..=4 {
        eventually("each is asked", SECOND * 20, || async {
            culprit.asked() >= TIMES * round
        })
        .await;
        let timeout = format!("{}s", round + 1);
        let change = |envoy: harness::EnvoyBuilder| {
            (0..TIMES).fold(envoy, |envoy, n| {
                // The first is the control plane's, the second the neighbour's.
                let pointer = format!("/static_resources/clusters/{}/connect_timeout", n + 2);
                envoy.patch(&pointer, timeout.as_str())
            })
        };
        if round % 2 == 0 {
            stack.envoy.reload(|envoy| envoy.without_clusters(names())).await;
            stack.envoy.reload(|envoy| envoy.without_clusters([])).await;
        } else {
            stack.envoy.reload(change).await;
        }
    }
    for call in calls {
        call.leave().await;
    }
    check_no_request_noticed(&stack, held).await;
}

async fn with_culprits(culprit: &Culprit, kind: fn(&str) -> Target, timeout: &str) -> Stack {
    let mut stack = neighbourly(Stack::builder().singleton(false));
    for n in 0..TIMES {
        let target = kind(&name(n))
            .spec("confirm.timeout", timeout)
            .spec("confirm.giveUp", if timeout == "60s" { "60s" } else { "5s" })
            .spec("hold.timeout", "100s");
        stack = stack.target(culprit.behind(target));
    }
    stack.start().await
}

fn name(n: usize) -> String {
    format!("culprit-{n}")
}

fn call_culprits(stack: &Stack) -> Vec<Pending> {
    (0..TIMES)
        .map(|n| stack.client(&name(n)).get("/hello").spawn())
        .collect()
}

/// `cold`, which never comes up, and an Envoy whose clusters come from a file.
fn neighbourly(stack: StackBuilder) -> StackBuilder {
    let cold = Target::http("cold")
        .upstream(["--start-delay", "300s"])
        .spec("workload.process.startTimeout", "10m")
        .spec("hold.timeout", "25s");
    stack
        .target(cold)
        // What a dead VM held ends with this.
        .envoy(|envoy| envoy.cds().hcm("stream_idle_timeout", "40s"))
}

async fn behind_a_cutter(stack: StackBuilder) -> (Stack, Cutter) {
    let port = harness::free_port();
    let cutter = Cutter::before(port).await;
    let its_port = cutter.port();
    let address = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    let stack = neighbourly(stack)
        .control(move |control| control.listen_on(port))
        .envoy(move |envoy| {
            let address_of_the_cutter =
                json!({"socket_address": {"address": "127.0.0.1", "port_value": its_port}});
            envoy.patch(address, address_of_the_cutter)
        })
        .start()
        .await;
    (stack, cutter)
}

/// Requests for `cold` on several connections.
async fn hold(stack: &Stack) -> Vec<Pending> {
    let calls = hold_unreported(stack).await;
    eventually("all are reported", SECOND * 10, || async {
        stack.held("cold").await == HELD as u64
    })
    .await;
    calls
}

/// The same, where the control plane need not hear of it.
async fn hold_unreported(stack: &Stack) -> Vec<Pending> {
    let calls = (0..HELD)
        .map(|_| stack.client("cold").get("/hello").spawn())
        .collect();
    eventually("all are held", SECOND * 10, || async {
        stack.envoy_holds().await >= HELD as u64
    })
    .await;
    calls
}

/// Requests that were held meanwhile are refused at their own deadline, by a VM that lives; and the VMs go on.
async fn check_no_request_noticed(stack: &Stack, held: Vec<Pending>) {
    assert!(
        held.iter().all(|call| !call.is_finished()),
        "must be held all the time, or the test shows nothing"
    );
    for reply in join_all(held.into_iter().map(Pending::reply)).await {
        assert_eq!(reply.status, 504, "must be told by the filter: {reply:?}");
        assert_eq!(reply.problem().kind, "urn:holdfast:hold-timeout");
    }
    let log = stack.envoy.log();
    for words in ["panicked", "Proxy-Wasm plugin in-VM", "Function: proxy_"] {
        let line = log.lines().find(|line| line.contains(words));
        assert_eq!(line, None, "no VM may have ended");
    }
    let stats = stack.envoy.stats("wasm").await;
    let stat = |name: &str| {
        stats
            .iter()
            .filter(|(key, _)| key.contains(name))
            .map(|(_, value)| value)
            .sum::<u64>()
    };
    assert_eq!(stat("vm_reload"), 0, "no VM may have been made anew: {stats:?}");
    assert_eq!(
        stat("relay_takeovers_total"),
        1,
        "the relay must have stayed: {stats:?}"
    );
    stack.synced(1).await;
    let again = hold(stack).await;
    for call in again {
        call.leave().await;
    }
}

/// Questions of which the module knows how they ended.
async fn questions_that_ended(stack: &Stack) -> u64 {
    let stats = stack.envoy.stats("wasmcustom.holdfast.confirms_total").await;
    stats.iter().map(|(_, value)| value).sum()
}
