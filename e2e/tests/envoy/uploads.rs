//! Large uploads to a workload that sleeps: they wait with their clients, not in Envoy's memory, and arrive whole.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use harness::{
    Client, Door, Pending, Progress, Stack, StackBuilder, Target, Upload, both_relays, eventually,
};

const SECOND: Duration = Duration::from_secs(1);
/// Half a gigabyte goes through two cores that have other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
const MB: u64 = 1_000_000;
const LENGTH: u64 = 50 * MB;
const UPLOADS: u8 = 10;

both_relays! {
    async fn ten_wait_with_their_clients_over_http1(stack: StackBuilder) {
        let (stack, door) = asleep_and_warm(stack).await;
        let client = stack.client("cold");
        let held = hold(&stack, (0..UPLOADS).map(|_| client.clone())).await;
        check_whole(held, &door).await;
    }

    async fn ten_wait_with_their_clients_over_ten_http2_connections(stack: StackBuilder) {
        let (stack, door) = asleep_and_warm(stack).await;
        let client = stack.client("cold");
        let clients = join_all((0..UPLOADS).map(|_| client.http2())).await;
        let held = hold(&stack, clients.iter().cloned()).await;
        for client in &clients {
            check_posts_pass(&stack, client).await;
        }
        check_whole(held, &door).await;
    }

    async fn ten_wait_with_their_client_on_one_http2_connection(stack: StackBuilder) {
        let (stack, door) = asleep_and_warm(stack).await;
        let client = stack.client("cold").http2().await;
        let held = hold(&stack, (0..UPLOADS).map(|_| client.clone())).await;
        check_posts_pass(&stack, &client).await;
        check_whole(held, &door).await;
    }
}

/// An upload that is held, and what the workload must make of it.
struct Held {
    call: Pending,
    progress: Progress,
    sha256: String,
}

async fn asleep_and_warm(stack: StackBuilder) -> (Stack, Door) {
    let (cold, door) = Door::before(Target::http("cold"));
    let stack = stack.target(cold).target(Target::http("warm")).start().await;
    for _ in 0..10 {
        // Both workers, so that what they allocate once is not counted below.
        let reply = stack.client("warm").post("/echo", vec![0; 1 << 20]).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    (stack, door)
}

/// Sends an upload by each of the clients and sees them blocked, and Envoy not fuller by 2 MB for each.
async fn hold(stack: &Stack, clients: impl Iterator<Item = Client>) -> Vec<Held> {
    // Computed before the clock of any hold runs.
    let uploads: Vec<_> = (0..UPLOADS).map(|seed| Upload::new(LENGTH, seed)).collect();
    let expected: Vec<_> = uploads.iter().map(Upload::sha256).collect();
    let before = stack.envoy.allocated().await;
    let send = |((client, upload), sha256): ((Client, Upload), String)| {
        let progress = upload.progress();
        let call = client.post("/echo", "").body(upload).spawn();
        Held {
            call,
            progress,
            sha256,
        }
    };
    let held: Vec<Held> = clients.zip(uploads).zip(expected).map(send).collect();
    eventually("all are held", SECOND * 10, || async {
        stack.held("cold").await == u64::from(UPLOADS)
    })
    .await;

    // Blocked: no upload moves for a second, long before the end.
    let sent = || held.iter().map(|held| held.progress.sent()).collect::<Vec<_>>();
    let (mut last, mut since) = (sent(), tokio::time::Instant::now());
    eventually("the clients are blocked", SECOND * 30, || {
        let now = sent();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
        let still = since.elapsed() >= SECOND;
        async move { still }
    })
    .await;
    for sent in last {
        assert!(sent > 0, "each must have begun to send");
        assert!(
            sent < LENGTH / 2,
            "must be blocked in the middle of its body: {sent} bytes are sent"
        );
    }
    let grown = stack.envoy.allocated().await.saturating_sub(before);
    let most = u64::from(UPLOADS) * 2 * MB;
    assert!(
        grown < most,
        "must cost Envoy less than 2 MB each: {grown} bytes for all"
    );
    held
}

/// The held uploads leave the connection to others.
async fn check_posts_pass(stack: &Stack, client: &Client) {
    let upload = Upload::new(MB, 99);
    let sha256 = upload.sha256();
    let warm = client.authority(stack.target("warm").authority());
    let reply = tokio::time::timeout(SECOND * 10, warm.post("/echo", "").body(upload).send()).await;
    let reply = reply.expect("a POST to a workload that is up must not wait for those that are held");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["sha256"], sha256.as_str(), "must arrive whole");
}

async fn check_whole(held: Vec<Held>, door: &Door) {
    assert!(
        held.iter().all(|held| !held.call.is_finished()),
        "all must still be held"
    );
    let _open = door.open().await;
    let (calls, expected): (Vec<_>, Vec<_>) = held.into_iter().map(|held| (held.call, held.sha256)).unzip();
    let replies = try_join_all(calls.into_iter().map(Pending::try_reply));
    let replies = tokio::time::timeout(PATIENCE, replies)
        .await
        .expect("all must be answered");
    for (reply, sha256) in replies.expect("none may be lost").into_iter().zip(expected) {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.held().is_some(), "must have been held: {reply:?}");
        let seen = reply.json();
        assert_eq!(
            (&seen["length"], &seen["sha256"]),
            (&LENGTH.into(), &sha256.into()),
            "must arrive whole"
        );
    }
}
