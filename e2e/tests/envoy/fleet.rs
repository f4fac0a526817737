//! Several proxies and one target: what one of them uses or does not say, none may take away.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Envoy, Event, Stack, StackBuilder, Target, WebSocket, both_relays, eventually, holds_for};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn a_drain_needs_every_envoy(stack: StackBuilder) {
        let stack = mk_stack(stack, FORGET_LATE).await;
        let other = mk_other(&stack).await;
        let through = [&stack.envoy, &other].map(|envoy| envoy.client("web.example.com").get("/hello").spawn());
        for call in through {
            assert_eq!(call.reply().await.status, 200, "either must serve it");
        }
        assert_eq!(stack.journal("web").starts(), 1, "both together must cause one start");

        stack.control.wait_for("web", "asleep").await;

        assert_eq!(confirms(&stack), ["envoy-1", "envoy-2"].map(str::to_owned).into(), "must have confirmed");
    }

    async fn what_one_envoy_uses_the_other_does_not_put_to_sleep(stack: StackBuilder) {
        let stack = mk_stack(stack, FORGET_LATE).await;
        let other = mk_other(&stack).await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);
        let mut socket = WebSocket::open(other.port(), "web.example.com", "/ws").await.unwrap();

        stays_up(&stack, SECOND * 2).await;

        assert_eq!(socket.echo("still there").await.unwrap(), "still there");
        drop(socket);
        stack.control.wait_for("web", "asleep").await;
    }

    async fn an_envoy_that_was_killed_blocks_until_it_is_forgotten_and_the_new_one_works(stack: StackBuilder) {
        let mut stack = mk_stack(stack, ["--proxy-forget-after", "3s"]).await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);
        let socket = stack.websocket("web").await.unwrap();

        stack.envoy.restart().await;

        let reply = stack.client("web").get("/hello").send().await;
        assert_eq!(reply.status, 200, "the new one must pass to what is up: {reply:?}");
        drop(socket);
        stack.control.wait_for("web", "asleep").await;
        let events = stack.control.events().seen;
        let at = |name: &str| events.iter().position(|event| event.event == name).expect(name);
        assert!(at("proxy_silent") < at("proxy_forgotten"), "the old one must be missed first: {events:?}");
        assert!(at("proxy_forgotten") < at("stopping"), "a proxy that is missed must not be overruled: {events:?}");
        let reply = stack.client("web").get("/hello").send().await;
        assert_eq!((reply.status, reply.held().is_some()), (200, true), "the new one must hold and wake: {reply:?}");
    }

    async fn an_envoy_that_was_killed_while_it_held_loses_only_those(stack: StackBuilder) {
        let mut stack = stack.target(Target::http("web").upstream(["--start-delay", "3s"])).start().await;
        let lost = stack.client("web").get("/hello?id=lost").spawn();
        stack.control.wait_for("web", "waking").await;

        stack.envoy.restart().await;

        assert!(lost.try_reply().await.is_err(), "its connection must be gone");
        let reply = stack.client("web").get("/hello?id=new").send().await;
        assert_eq!((reply.status, stack.journal("web").starts()), (200, 1), "must join the wake: {reply:?}");
        let journal = stack.journal("web");
        let ids: Vec<_> = journal.requests().iter().filter_map(|request| request.id.as_deref()).collect();
        assert_eq!(ids, ["new"], "the lost one must not answer");
    }

    async fn two_vm_ids_in_one_envoy_are_two_proxies(stack: StackBuilder) {
        let stack = mk_stack(stack.envoy(|envoy| envoy.second_vm("another")), FORGET_LATE).await;
        stack.synced(2).await;
        let proxies = proxies(&stack).await;
        let names: BTreeSet<_> = proxies.iter().map(|proxy| proxy["incarnation"].as_str().unwrap()).collect();
        assert_eq!((proxies.len(), names.len()), (2, 2), "must have two incarnations: {proxies:?}");
        assert!(proxies.iter().all(|proxy| proxy["id"] == "envoy-1"), "of one Envoy: {proxies:?}");
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);
        let mut socket = WebSocket::open(stack.envoy.second_port(), "web.example.com", "/ws").await.unwrap();

        stays_up(&stack, SECOND * 2).await;

        assert_eq!(socket.echo("still there").await.unwrap(), "still there");
        drop(socket);
        stack.control.wait_for("web", "asleep").await;
        let proxies = last_drain(&stack);
        assert_eq!(proxies.len(), 2, "either must have confirmed by itself: {proxies:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_was_frozen_while_it_passed_traffic_keeps_its_target_up() {
    let stack = mk_stack(Stack::builder(), FORGET_LATE).await;
    let other = mk_other(&stack).await;
    let mut socket = WebSocket::open(other.port(), "web.example.com", "/ws")
        .await
        .unwrap();
    assert_eq!(socket.echo("before").await.unwrap(), "before");

    other.freeze();

    stays_up(&stack, SECOND * 4).await;
    other.thaw();
    assert_eq!(
        socket.echo("after").await.unwrap(),
        "after",
        "what it carried must go on"
    );
    drop(socket);
    stack.control.wait_for("web", "asleep").await;
}

/// Nothing of the frozen one is in use as far as the control plane knows: a drain begins, and waits for it in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_was_frozen_while_idle_confirms_nothing() {
    let stack = mk_stack(Stack::builder(), FORGET_LATE).await;
    let other = mk_other(&stack).await;
    assert_eq!(
        other.client("web.example.com").get("/hello").send().await.status,
        200
    );
    eventually("nothing is in use", SECOND * 5, || async {
        let target = stack.control.target("web").await;
        target["held"] == 0 && target["in_flight"] == 0
    })
    .await;

    other.freeze();

    // Longer than the time after which a drain without all confirms is given up.
    stays_up(&stack, SECOND * 12).await;
    let events = stack.control.events().seen;
    let given_up = events
        .iter()
        .any(|event| event.event == "ready" && event.why == "unconfirmed");
    assert!(given_up, "a drain must have begun and been given up: {events:?}");
    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(
        reply.status, 200,
        "the other must go on serving meanwhile: {reply:?}"
    );
    other.thaw();
    stack.control.wait_for("web", "asleep").await;
}

const FORGET_LATE: [&str; 2] = ["--proxy-forget-after", "10m"];

/// One target that may sleep after 300 ms.
async fn mk_stack(stack: StackBuilder, forget: [&'static str; 2]) -> Stack {
    let quick = [
        "--log-format",
        "json",
        "--heartbeat",
        "300ms",
        "--lease-duration",
        "100ms",
    ];
    let web = Target::http("web").idle("300ms");
    stack
        .target(web)
        .control(move |control| control.args(quick).args(forget))
        .start()
        .await
}

async fn mk_other(stack: &Stack) -> Envoy {
    stack.another_envoy(|envoy| envoy.node("envoy-2")).await
}

/// For `period`, which is many times what makes it sleepy, nothing is stopped.
async fn stays_up(stack: &Stack, period: Duration) {
    let stopped = || stack.control.events().count("stopping");
    let before = stopped();
    holds_for("its workload is not stopped", period, || async {
        stopped() == before
    })
    .await;
}

async fn proxies(stack: &Stack) -> Vec<Value> {
    let reply = stack.control.client().get("/v1/proxies").send().await.json();
    let list = reply.as_array().or_else(|| reply["proxies"].as_array());
    list.unwrap_or_else(|| panic!("no list of proxies: {reply}"))
        .clone()
}

/// Node ids of the proxies that confirmed the drain that ended with the stop.
fn confirms(stack: &Stack) -> BTreeSet<String> {
    let ids = last_drain(stack);
    ids.iter()
        .map(|proxy| proxy.split('#').next().unwrap().to_owned())
        .collect()
}

fn last_drain(stack: &Stack) -> BTreeSet<String> {
    let events = stack.control.events().seen;
    let last = |name: &str| events.iter().rposition(|event: &Event| event.event == name);
    let (drain, stop) = (
        last("draining").expect("a drain"),
        last("stopping").expect("a stop"),
    );
    let confirmed = events[drain..stop]
        .iter()
        .filter(|event| event.event == "confirmed");
    confirmed.map(|event| event.proxy.clone()).collect()
}
