//! One relay at a time speaks for the Envoy, and another one when it dies.

use std::time::Duration;

use harness::{Stack, Target, binaries, eventually, holds_for};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_takes_over_when_the_singleton_has_died() {
    check_takeover(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_when_the_elected_one_has_died() {
    check_takeover(false).await;
}

/// The VM of the relay panics; afterwards exactly one poll is open again, and requests are held, woken and answered.
async fn check_takeover(singleton: bool) {
    let stack = Stack::builder()
        .target(Target::http("warm"))
        .target(Target::http("cold"))
        .envoy(move |envoy| envoy.wasm(&binaries::wasm_test()).singleton(singleton))
        .start()
        .await;
    assert_eq!(stack.client("warm").get("/hello").send().await.status, 200);
    let term = term(&stack).await;

    let reply = stack
        .client("warm")
        .get("/hello")
        .header("x-holdfast-test-panic", "relay")
        .send()
        .await;

    assert_eq!(
        reply.status, 200,
        "the request that only carries the order must pass: {reply:?}"
    );
    eventually("the relay's VM has died", SECOND * 5, || async {
        stack.envoy.log().contains("test panic: root")
    })
    .await;
    eventually("another has taken over", SECOND * 10, || async {
        self::term(&stack).await > term
    })
    .await;
    eventually("one poll is open", SECOND * 5, || async {
        stack.open_polls().await == 1
    })
    .await;
    holds_for("at most one poll is open", SECOND * 2, || async {
        stack.open_polls().await <= 1
    })
    .await;
    for _ in 0..10 {
        assert_eq!(
            stack.client("warm").get("/hello").send().await.status,
            200,
            "warm requests must go on passing"
        );
    }
    let reply = stack.client("cold").get("/hello").send().await;
    assert_eq!(
        reply.status, 200,
        "a sleeping workload must be woken by way of the new relay: {reply:?}"
    );
    assert!(
        reply.took < SECOND * 5,
        "and soon: the new relay must report at once, not after {:?}",
        reply.took
    );
    assert_eq!(stack.journal("cold").starts(), 1, "and only once");
}

/// The term of the relay that polls.
async fn term(stack: &Stack) -> u64 {
    let proxies = stack.control.client().get("/v1/proxies").send().await.json();
    proxies["proxies"][0]["term"]
        .as_u64()
        .unwrap_or_else(|| panic!("no term in {proxies}"))
}
