//! The control plane is away: what is up goes on, what sleeps follows its policy, and nothing is put to sleep by silence.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Pending, Process, Stack, StackBuilder, Target, binaries, both_relays, eventually, holds_for};
use http::Method;

const SECOND: Duration = Duration::from_secs(1);
/// Three of them without a word are a loss.
const HEARTBEAT: [&str; 4] = ["--heartbeat", "300ms", "--lease-duration", "200ms"];

both_relays! {
    async fn what_is_up_goes_on_and_what_is_held_waits(stack: StackBuilder) {
        let (mut stack, _workloads) = start(stack, [Target::http("warm"), Target::http("cold")]).await;
        poke(&stack, "warm").await;
        assert_eq!(stack.client("warm").get("/hello").send().await.status, 200);

        stack.control.kill();
        let held: Vec<_> = (0..10).map(|_| stack.client("cold").get("/hello").spawn()).collect();
        let before = pass_until_lost(&stack).await;

        assert!(before > 0, "requests must have passed before the loss was noticed, as after it");
        assert!(held.iter().all(|call| !call.is_finished()), "what sleeps must be held on");
        stack.control.restart().await;
        poke(&stack, "warm").await;
        poke(&stack, "cold").await;
        for reply in join_all(held.into_iter().map(Pending::reply)).await {
            assert_eq!(reply.status, 200, "must be released once the control plane is back: {reply:?}");
        }
        assert_eq!(stack.client("warm").get("/hello").send().await.status, 200);
    }

    async fn a_policy_may_pass_or_refuse(stack: StackBuilder) {
        let lax = Target::http("lax").spec("hold.onControlPlaneLoss", "pass");
        let strict = Target::http("strict").spec("hold.onControlPlaneLoss", "refuse");
        let (stack, _workloads) = start(stack, [lax, strict]).await;
        let waiting = ["lax", "strict"].map(|name| stack.client(name).get("/hello").spawn());
        eventually("both are held", SECOND * 5, || async { stack.envoy_holds().await == 2 }).await;

        stack.control.kill();

        let [passed, refused] = waiting;
        for (passed, refused) in [
            (passed.reply().await, refused.reply().await),
            (stack.client("lax").get("/hello").send().await, stack.client("strict").get("/hello").send().await),
        ] {
            assert_eq!(passed.status, 200, "must be let through: {passed:?}");
            assert_eq!(refused.status, 503, "must be refused: {refused:?}");
            assert_eq!(refused.problem().kind, "urn:holdfast:control-plane-lost");
            assert!(refused.header("retry-after").is_some(), "{refused:?}");
        }
    }

    async fn an_envoy_that_starts_meanwhile_lets_pass_what_is_up(stack: StackBuilder) {
        let stack = stack.envoy(|envoy| envoy.setting("startup.wait", "500ms"));
        let (mut stack, _workloads) = start(stack, [Target::http("warm"), Target::http("cold")]).await;
        poke(&stack, "warm").await;
        assert_eq!(stack.client("warm").get("/hello").send().await.status, 200);

        stack.control.kill();
        stack.envoy.restart().await;
        for _ in 0..20 {
            let reply = stack.client("warm").get("/hello").send().await;
            assert_eq!(reply.status, 200, "must pass, if need be after startup.wait: {reply:?}");
        }
        stack.control.restart().await;

        eventually("the new Envoy holds what sleeps", SECOND * 10, || async {
            let call = stack.client("cold").get("/hello").spawn();
            let held = stack.held("cold").await > 0;
            call.leave().await;
            held
        })
        .await;
        let held = stack.client("cold").get("/hello").spawn();
        poke(&stack, "cold").await;
        assert_eq!(held.reply().await.status, 200);
    }
}

/// It knows no target, so it goes by `startup.then`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_starts_meanwhile_may_hold_or_refuse() {
    for then in ["hold", "refuse"] {
        let stack = Stack::builder().envoy(move |envoy| {
            envoy
                .setting("startup.wait", "300ms")
                .setting("startup.then", then)
        });
        let (mut stack, _workloads) = start(stack, [Target::http("warm"), Target::http("cold")]).await;
        stack.synced(1).await;
        stack.control.kill();
        stack.envoy.restart().await;

        let call = stack.client("cold").get("/hello").spawn();

        if then == "refuse" {
            let reply = call.reply().await;
            assert_eq!(reply.status, 503, "{reply:?}");
            assert_eq!(reply.problem().kind, "urn:holdfast:no-snapshot");
            continue;
        }
        // Five heartbeats, and five times the wait.
        holds_for("it is held on", SECOND * 3 / 2, || async { !call.is_finished() }).await;
        stack.control.restart().await;
        poke(&stack, "cold").await;
        assert_eq!(
            call.reply().await.status,
            200,
            "must be released once the control plane is back"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_to_sleep_before_two_leases_after_a_start() {
    let stack = Stack::builder()
        .target(Target::http("web").idle("300ms"))
        .control(|control| {
            control.args([
                "--log-format",
                "json",
                "--heartbeat",
                "300ms",
                "--lease-duration",
                "1500ms",
            ])
        })
        .start()
        .await;
    assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

    stack.control.wait_for("web", "asleep").await;

    // What it says first, it says while it starts.
    let events = stack.control.events().seen;
    let drained = events
        .iter()
        .find(|event| event.event == "draining")
        .expect("must drain");
    let after = drained.unix_ms - events[0].unix_ms;
    assert!(
        after >= 2_900,
        "two leases of 1.5 s must have passed, but for the start itself: {after} ms"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_to_sleep_while_no_proxy_is_live() {
    let stack = Stack::builder()
        .target(Target::http("web").idle("300ms"))
        .control(|control| {
            control
                .args(HEARTBEAT)
                .args(["--log-format", "json", "--proxy-forget-after", "1s"])
        })
        .start()
        .await;
    assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

    stack.envoy.kill();

    let mut events = stack.control.events();
    assert!(
        events.count("proxy_forgotten") > 0 || events.next("proxy_forgotten", SECOND * 20).await,
        "the proxy must be forgotten"
    );
    holds_for("it stays up", SECOND * 2, || async {
        stack.control.state("web").await == "ready"
    })
    .await;
}

/// Workloads that outlive the control plane, and a control plane that is told by a person what is up.
async fn start(stack: StackBuilder, targets: [Target; 2]) -> (Stack, Vec<Process>) {
    let named = targets.into_iter().map(|target| {
        let host = target.authority().to_owned();
        target.spec("match.hosts", vec![host])
    });
    let stack = named.fold(stack, StackBuilder::target);
    let stack = stack
        .control(|control| control.backend("manual").args(HEARTBEAT))
        .start()
        .await;
    let names: Vec<_> = ["warm", "cold", "lax", "strict"]
        .into_iter()
        .filter(|name| stack.has_target(name))
        .collect();
    let workloads = names
        .iter()
        .map(|name| {
            let address = format!("127.0.0.1:{}", stack.target(name).port);
            let args = ["--http", &address, "--grpc", "127.0.0.1:0", "--name", name].map(str::to_owned);
            let log = stack.dir.path().join(format!("{name}.log"));
            Process::start(name, &binaries::upstream(), &args, &[], &log)
        })
        .collect();
    for name in names {
        eventually("the workload listens", SECOND * 10, || async {
            stack
                .direct(name)
                .get("/hello")
                .try_send()
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }
    (stack, workloads)
}

async fn poke(stack: &Stack, name: &str) {
    let path = format!("/poke-scale-up?host={}", stack.target(name).authority());
    let reply = stack.control.client().call(Method::POST, &path).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Sends to what is up, one after the other, until the loss is known and twenty more. How many passed before it was.
async fn pass_until_lost(stack: &Stack) -> u32 {
    let client = stack.client("warm").http2().await;
    let (mut before, mut after) = (0, 0);
    while after < 20 {
        let reply = client.get("/hello").send().await;
        assert_eq!(reply.status, 200, "what is up must go on: {reply:?}");
        match stack.envoy.stat("wasmcustom.holdfast.control_plane_up").await {
            0 => after += 1,
            _ => before += 1,
        }
    }
    before
}
