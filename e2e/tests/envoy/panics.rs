//! A panic inside the module costs what its VM held, and nothing else.
//!
//! The test-only build of the filter panics where the header `x-holdfast-test-panic` says. What a dead VM held is ended
//! by Envoy's `stream_idle_timeout`, which is short here: nothing else can end it.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Client, Pending, Reply, Stack, StackBuilder, Target, binaries, both_relays, eventually};

const SECOND: Duration = Duration::from_secs(1);
/// `stream_idle_timeout` of these tests: longer than the workload takes to come up.
const ORPHANS_END_AFTER: Duration = Duration::from_secs(4);
const PANIC: &str = "x-holdfast-test-panic";
/// Requests held on each worker when the panic comes.
const EACH: usize = 5;

both_relays! {
    async fn a_panic_in_a_stream_callback_costs_only_that_worker(stack: StackBuilder) {
        let stack = start(stack).await;
        check_one_worker_dies(&stack, "stream").await;
    }

    async fn a_panic_in_a_root_callback_costs_only_that_worker(stack: StackBuilder) {
        let stack = start(stack).await;
        check_one_worker_dies(&stack, "root").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_singleton_costs_nothing() {
    let stack = start(Stack::builder()).await;
    let workers = connect_to_both_workers(&stack).await;
    let term = relay_term(&stack).await;
    let held = hold_on(&stack, &workers).await;

    let told = workers[0].get("/hello").header(PANIC, "service").spawn();

    for reply in replies(held.into_iter().flatten().chain([told])).await {
        assert_eq!(reply.status, 200, "no request must pay for it: {reply:?}");
    }
    check_another_relay(&stack, term).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_vm_that_holds_the_lease_costs_none_of_the_others() {
    let stack = start(Stack::builder().singleton(false)).await;
    let workers = connect_to_both_workers(&stack).await;
    let term = move_the_relay_to_a_worker(&stack).await;
    let [one, other] = hold_on(&stack, &workers).await;

    let told = workers[0].get("/hello").header(PANIC, "relay").spawn();
    let (one, other) = tokio::join!(replies(one.into_iter().chain([told])), replies(other));

    let dead = [&one, &other].map(|replies| replies.iter().filter(|reply| reply.status != 200).count());
    assert!(
        dead == [EACH + 1, 0] || dead == [0, EACH],
        "one worker must have died and the other not noticed: {dead:?} were lost"
    );
    for reply in one.iter().chain(&other).filter(|reply| reply.status != 200) {
        assert_orphan(reply);
    }
    check_another_relay(&stack, term).await;
}

/// Two workers, a target that needs a second to come up, beats of 20 ms so that what is dead is found soon.
async fn start(stack: StackBuilder) -> Stack {
    let idle_timeout = format!("{}s", ORPHANS_END_AFTER.as_secs());
    stack
        .target(Target::http("web").upstream(["--start-delay", "1s"]).idle("1s"))
        .target(Target::http("other"))
        .control(|control| control.args(["--lease-duration", "200ms", "--heartbeat", "500ms"]))
        .envoy(move |envoy| {
            envoy
                .wasm(&binaries::wasm_test())
                .hcm("stream_idle_timeout", idle_timeout)
                .setting("ticks.period", "20ms")
        })
        .start()
        .await
}

async fn check_one_worker_dies(stack: &Stack, place: &str) {
    let workers = connect_to_both_workers(stack).await;
    let [doomed, spared] = hold_on(stack, &workers).await;

    let culprit = workers[0].get("/hello").header(PANIC, place).spawn();
    let (doomed, spared) = tokio::join!(replies(doomed.into_iter().chain([culprit])), replies(spared));

    for reply in &spared {
        assert_eq!(reply.status, 200, "the other worker must not notice: {reply:?}");
        assert!(reply.held().is_some(), "it must have been held: {reply:?}");
    }
    for reply in &doomed {
        assert_orphan(reply);
    }
    let again = workers[0].get("/hello").send().await;
    assert_eq!(again.status, 200, "the worker must have a VM again: {again:?}");
    let reloads = stack.envoy.stat("wasm.holdfast.vm_reload_success").await;
    assert_eq!(reloads, 1, "one VM must have been made anew");
    eventually("one poll is open", SECOND * 10, || async {
        stack.open_polls().await == 1
    })
    .await;
    // What the dead VM held neither keeps its places nor keeps the target awake.
    // A gate that was silent for ten seconds is taken for dead.
    eventually("nothing is held", SECOND * 15, || async {
        stack.held("web").await == 0
    })
    .await;
    stack.control.wait_for("web", "asleep").await;
    let woken = workers[0].get("/hello").send().await;
    assert_eq!(
        (woken.status, woken.held().is_some()),
        (200, true),
        "must be held and woken: {woken:?}"
    );
}

/// One HTTP/2 connection on each worker.
async fn connect_to_both_workers(stack: &Stack) -> [Client; 2] {
    let mut found: [Option<Client>; 2] = [None, None];
    let mut before = connections(stack).await;
    // The kernel chooses the worker: forty connections miss one of two once in 10^12 runs.
    for _ in 0..40 {
        let client = stack.client("web").http2().await;
        let after = eventually("Envoy has taken the connection", SECOND * 5, || async {
            let after = connections(stack).await;
            (after != before).then_some(after)
        })
        .await;
        let worker = usize::from(after[0] == before[0]);
        before = after;
        found[worker].get_or_insert(client);
        if let [Some(one), Some(other)] = &found {
            return [one.clone(), other.clone()];
        }
    }
    panic!("all connections went to one worker");
}

/// Connections that each worker has ever taken.
async fn connections(stack: &Stack) -> [u64; 2] {
    let listener = format!("listener.127.0.0.1_{}", stack.envoy.port());
    let stats = stack.envoy.stats("downstream_cx_total").await;
    [0, 1].map(|worker| {
        let name = format!("{listener}.worker_{worker}.downstream_cx_total");
        let found = stats.iter().find(|(key, _)| *key == name);
        found
            .unwrap_or_else(|| panic!("no stat {name} among {stats:?}"))
            .1
    })
}

/// Holds the same number of requests for `web` on both workers.
async fn hold_on(stack: &Stack, workers: &[Client; 2]) -> [Vec<Pending>; 2] {
    let calls = workers
        .each_ref()
        .map(|client| (0..EACH).map(|_| client.get("/hello").spawn()).collect());
    eventually("all are held", SECOND, || async {
        stack.held("web").await == 2 * EACH as u64
    })
    .await;
    calls
}

async fn replies(calls: impl IntoIterator<Item = Pending>) -> Vec<Reply> {
    join_all(calls.into_iter().map(Pending::reply)).await
}

/// What Envoy answers when the VM of a stream is gone.
#[track_caller]
fn assert_orphan(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(
        reply.took < ORPHANS_END_AFTER + SECOND,
        "must be answered when stream_idle_timeout fires, not after {:?}",
        reply.took
    );
}

/// Another relay speaks for the Envoy, alone, and the whole path works through it.
async fn check_another_relay(stack: &Stack, term: u64) {
    eventually("another relay", SECOND * 5, || async {
        relay_term(stack).await > term
    })
    .await;
    eventually("one poll is open", SECOND * 5, || async {
        stack.open_polls().await == 1
    })
    .await;
    stack.control.wait_for("web", "asleep").await;
    let woken = stack.client("web").get("/hello").send().await;
    assert_eq!(
        (woken.status, woken.held().is_some()),
        (200, true),
        "must be held and woken: {woken:?}"
    );
    eventually("one poll is open", SECOND * 5, || async {
        stack.open_polls().await == 1
    })
    .await;
}

/// Term of the relay that speaks for the only proxy.
async fn relay_term(stack: &Stack) -> u64 {
    let proxies = stack.control.client().get("/v1/proxies").send().await.json();
    let terms: Vec<u64> = proxies["proxies"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {proxies}"))
        .iter()
        .filter_map(|proxy| proxy["term"].as_u64())
        .collect();
    assert_eq!(terms.len(), 1, "one Envoy must be one proxy: {proxies}");
    terms[0]
}

/// The main thread's VM of the filter may be elected as well. It owns no streams, so nothing brings it back: a panic
/// there leaves the relay to the workers. Returns the relay's term.
async fn move_the_relay_to_a_worker(stack: &Stack) -> u64 {
    let term = relay_term(stack).await;
    if relay_thread(stack, term) != main_thread(stack) {
        return term;
    }
    let told = stack
        .client("other")
        .get("/hello")
        .header(PANIC, "relay")
        .send()
        .await;
    assert_eq!(
        told.status, 200,
        "no request must pay for a VM without streams: {told:?}"
    );
    let next = eventually("a worker is the relay", SECOND * 5, || async {
        let next = relay_term(stack).await;
        (next > term).then_some(next)
    })
    .await;
    assert_ne!(relay_thread(stack, next), main_thread(stack), "must be a worker");
    next
}

/// The thread that logged the start of the relay with that term.
fn relay_thread(stack: &Stack, term: u64) -> String {
    thread_of_line(stack, &format!("term {term},"))
}

fn main_thread(stack: &Stack) -> String {
    thread_of_line(stack, "starting main dispatch loop")
}

/// Lines of Envoy's log begin with `[time][thread][level]`.
fn thread_of_line(stack: &Stack, part: &str) -> String {
    let log = stack.envoy.log();
    let line = log.lines().find(|line| line.contains(part));
    let line = line.unwrap_or_else(|| panic!("Envoy must have logged `{part}`"));
    line.split(['[', ']']).nth(3).unwrap().to_owned()
}
