//! How long, how many and how much is held, and what a client is told beyond that.

use std::time::Duration;

use futures_util::future::join_all;
use harness::grpc::raw_unary;
use harness::{Client, Pending, Reply, Stack, StackBuilder, Target, Upload, both_relays, eventually};

const SECOND: Duration = Duration::from_secs(1);
/// The workload stays away for longer than any test takes.
const NEVER_UP: [&str; 2] = ["--start-delay", "50s"];

both_relays! {
    async fn a_hold_ends_with_504_after_the_targets_time_out(stack: StackBuilder) {
        let web = Target::http("web").upstream(NEVER_UP).spec("hold.timeout", "500ms");
        let stack = stack.target(web).start().await;

        let reply = stack.client("web").get("/hello").send().await;

        assert_refused(&reply, 504, "urn:holdfast:hold-timeout");
        assert!(reply.took >= SECOND / 2 && reply.took < SECOND * 2, "must wait for 500 ms: {:?}", reply.took);
    }

    async fn a_grpc_hold_ends_with_deadline_exceeded(stack: StackBuilder) {
        let echo = Target::grpc("echo").upstream(NEVER_UP).spec("hold.timeout", "500ms");
        let stack = stack.target(echo).start().await;

        let reply = raw_unary(&stack.client("echo").http2().await, "hello").send().await;

        assert_eq!((reply.status, reply.grpc_status()), (200, Some(4)), "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "must say when to come back: {reply:?}");
        assert!(reply.took >= SECOND / 2 && reply.took < SECOND * 2, "must wait for 500 ms: {:?}", reply.took);
    }

    async fn the_shorter_of_both_time_outs_counts(stack: StackBuilder) {
        let patient = Target::grpc("patient").upstream(NEVER_UP).spec("hold.timeout", "30s");
        let hasty = Target::grpc("hasty").upstream(NEVER_UP).spec("hold.timeout", "500ms");
        let stack = stack.target(patient).target(hasty).start().await;
        let (patient, hasty) = (stack.client("patient").http2().await, stack.client("hasty").http2().await);

        let by_client = raw_unary(&patient, "hello").header("grpc-timeout", "700m").send().await;
        let by_target = raw_unary(&hasty, "hello").header("grpc-timeout", "20S").send().await;

        assert_eq!((by_client.grpc_status(), by_target.grpc_status()), (Some(4), Some(4)), "both must run out");
        let (client, target) = (by_client.took.as_millis(), by_target.took.as_millis());
        assert!((600..2_000).contains(&client), "the client's 700 ms must count: {client} ms");
        assert!((500..2_000).contains(&target), "the target's 500 ms must count: {target} ms");
    }

    async fn the_bound_is_exact_on_one_connection(stack: StackBuilder) {
        let stack = three_places(stack).await;
        let client = stack.client("web").http2().await;
        check_three_of_forty(&stack, (0..40).map(|_| client.clone()).collect()).await;
    }

    async fn the_bound_is_exact_over_many_connections(stack: StackBuilder) {
        let stack = three_places(stack).await;
        let client = stack.client("web");
        check_three_of_forty(&stack, (0..40).map(|_| client.clone()).collect()).await;
    }

    async fn a_grpc_call_beyond_the_bound_gets_resource_exhausted(stack: StackBuilder) {
        let echo = Target::grpc("echo").upstream(NEVER_UP).spec("hold.maxRequests", 1);
        let stack = stack.target(echo).start().await;
        let client = stack.client("echo").http2().await;
        let held = raw_unary(&client, "first").spawn();
        eventually("the first is held", SECOND * 5, || async { stack.held("echo").await == 1 }).await;

        let reply = raw_unary(&client, "second").send().await;

        assert_eq!((reply.status, reply.grpc_status()), (200, Some(8)), "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "must say when to come back: {reply:?}");
        held.leave().await;
    }

    async fn the_bound_of_bytes_counts_declared_lengths(stack: StackBuilder) {
        let web = Target::http("web").upstream(NEVER_UP).spec("hold.maxBytes", "300Ki");
        let stack = stack.target(web).start().await;
        let post = || stack.client("web").post("/echo", "").body(Upload::new(100 * 1024, 1));
        let held = [post().spawn(), post().spawn()];
        eventually("two are held", SECOND * 5, || async { stack.held("web").await == 2 }).await;

        let third = post().send().await;

        assert_refused(&third, 503, "urn:holdfast:target-bytes");
        let small = stack.client("web").post("/echo", "").body(Upload::new(10 * 1024, 1)).spawn();
        eventually("a small one fits", SECOND * 5, || async { stack.held("web").await == 3 }).await;
        drop((held, small));
    }

    async fn the_whole_envoy_has_a_bound_over_all_targets(stack: StackBuilder) {
        let stack = stack
            .target(Target::http("one").upstream(NEVER_UP))
            .target(Target::http("two").upstream(NEVER_UP))
            .envoy(|envoy| envoy.setting("limits.requests", 4))
            .start()
            .await;
        let calls: Vec<_> = ["one", "two", "one", "two"].map(|name| stack.client(name).get("/hello").spawn()).into();
        let held = || async { stack.held("one").await + stack.held("two").await };
        eventually("four are held", SECOND * 5, || async { held().await == 4 }).await;

        let fifth = stack.client("one").get("/hello").send().await;

        assert_refused(&fifth, 503, "urn:holdfast:envoy-requests");
        drop(calls);
    }
}

async fn three_places(stack: StackBuilder) -> Stack {
    let web = Target::http("web")
        .upstream(["--start-delay", "3s"])
        .spec("hold.maxRequests", 3);
    stack.target(web).start().await
}

/// Forty at once: three are held and answered in the end, the others refused at once.
async fn check_three_of_forty(stack: &Stack, clients: Vec<Client>) {
    let calls: Vec<Pending> = clients
        .iter()
        .map(|client| client.get("/hello").spawn())
        .collect();

    let replies = join_all(calls.into_iter().map(Pending::reply)).await;

    let (served, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((served.len(), refused.len()), (3, 37), "the bound must be exact");
    for reply in &refused {
        assert_refused(reply, 503, "urn:holdfast:target-requests");
        assert!(
            reply.took < SECOND,
            "must be refused at once, not after {:?}",
            reply.took
        );
    }
    assert!(
        served.iter().all(|reply| reply.held().is_some()),
        "those within the bound must have been held"
    );
    assert_eq!(
        stack.journal("web").requests().len(),
        3,
        "no other must have reached the workload"
    );
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let problem = reply.problem();
    assert_eq!(
        (problem.kind.as_str(), problem.status),
        (kind, status),
        "{problem:?}"
    );
    assert!(problem.target.is_some(), "must name the target: {problem:?}");
    let after = reply.header("retry-after").expect("must say when to come back");
    assert!(
        after.parse::<u32>().is_ok_and(|seconds| seconds >= 1),
        "retry-after must be whole seconds: {after}"
    );
}
