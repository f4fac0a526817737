//! A crowd of requests at a workload that sleeps: all are answered, and in order.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use harness::{Client, Door, Journal, Pending, Reply, Stack, Target, both_relays, eventually};
use tokio::task::JoinHandle;
use upstream::Request;

const SECOND: Duration = Duration::from_secs(1);
/// Two cores are shared with everything else that a test machine does.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many streams as Envoy takes on one connection.
const STREAMS: usize = 100;
const CROWD: usize = 10_000;

both_relays! {
    async fn ten_thousand_are_held_and_answered_within_envoys_default_circuit_breakers(stack: StackBuilder) {
        let (web, door) = Door::before(Target::http("web").spec("hold.maxRequests", CROWD));
        let stack = stack.target(web).envoy(|envoy| envoy.log_level("wasm:info")).start().await;
        let connections = connect(&stack, CROWD / STREAMS).await;

        let calls: Vec<Pending> = (0..CROWD)
            .map(|id| connections[id / STREAMS].get(&format!("/hello?id={id}")).spawn())
            .collect();
        eventually("all are held", PATIENCE, || async { stack.held("web").await == CROWD as u64 }).await;
        let _open = door.open().await;
        let replies = join_all(calls.into_iter().map(Pending::reply)).await;

        let not_ok = replies.iter().find(|reply| reply.status != 200);
        assert!(not_ok.is_none(), "every one must be answered by the workload: {not_ok:?}");
        assert!(replies.iter().all(|reply| reply.held().is_some()), "every one must have been held");
        let journal = stack.journal("web");
        let mut ids = ids(&journal);
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..CROWD), "each must arrive, and once");
        assert_eq!(journal.starts(), 1, "ten thousand must cause one start");
        let overflows = stack.envoy.stat("cluster.web.upstream_rq_pending_overflow").await;
        assert_eq!(overflows, 0, "the release must stay below Envoy's circuit breakers");
        eventually("nothing is held", SECOND * 5, || async { stack.envoy_holds().await == 0 }).await;
        for client in [&connections[0], &stack.client("web")] {
            assert_eq!(client.get("/hello").send().await.status, 200, "the VM must be alive");
        }
        assert_eq!(reloads(&stack).await, 0, "no VM must have died");
    }

    async fn one_worker_releases_in_order_of_arrival(stack: StackBuilder) {
        let (web, door) = Door::before(Target::http("web").spec("release.concurrencyPerEndpoint", 1));
        let stack = stack.target(web).envoy(|envoy| envoy.workers(1).log_level("wasm:info")).start().await;
        let connections = connect(&stack, 3).await;

        let mut calls = Vec::new();
        for client in &connections {
            // Each connection's requests come after all those of the one before.
            calls.extend(send_in_order(client, calls.len()));
            let sent = calls.len() as u64;
            eventually("all that were sent are held", PATIENCE, || async { stack.held("web").await == sent }).await;
        }
        let _open = door.open().await;

        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status, 200, "every one must be answered");
        }
        let order = ids(&stack.journal("web"));
        assert!(order.iter().copied().eq(0..3 * STREAMS), "must arrive in the order in which they came: {order:?}");
    }
}

async fn connect(stack: &Stack, connections: usize) -> Vec<Client> {
    let client = stack.client("web");
    join_all((0..connections).map(|_| client.http2())).await
}

/// Sends a connection's fill of requests, one after the other.
fn send_in_order(client: &Client, first: usize) -> Vec<JoinHandle<anyhow::Result<Reply>>> {
    let send = |id: usize| {
        let mut call = Box::pin(client.get(&format!("/hello?id={id}")).try_send());
        // The first poll hands the request to the connection; only then may the next one be sent.
        assert!(
            call.as_mut().now_or_never().is_none(),
            "nothing can have answered yet"
        );
        tokio::spawn(call)
    };
    (first..first + STREAMS).map(send).collect()
}

/// What reached the workload, in order.
fn ids(journal: &Journal) -> Vec<usize> {
    let requests = journal.requests();
    let id = |request: &&Request| request.id.as_ref()?.parse().ok();
    requests.iter().filter_map(id).collect()
}

async fn reloads(stack: &Stack) -> u64 {
    let stats = stack.envoy.stats("vm_reload").await;
    stats.into_iter().map(|(_, count)| count).sum()
}
