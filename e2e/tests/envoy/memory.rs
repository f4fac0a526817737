//! `limits.bytes` is about what an Envoy's memory grows by while it holds, whatever the crowd is made of.

use std::time::Duration;

use harness::{
    Call, Client, Pending, Progress, Reply, Stack, StackBuilder, Target, Upload, both_relays, eventually,
};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: u64 = 24 << 20;
/// So many requests of a crowd are a third of what fits, at most: more would say nothing about the bound.
const ENOUGH: usize = 10;

both_relays! {
    async fn ordinary_requests_stay_within_the_bound_of_bytes(stack: StackBuilder) {
        let stack = start(stack).await;
        let client = stack.client("web");
        check_crowd(&stack, 1_200, |_| (client.get("/hello"), None)).await;
    }

    async fn requests_with_large_headers_stay_within_it(stack: StackBuilder) {
        let stack = start(stack).await;
        let client = stack.client("web");
        let large = |n: usize| format!("{n:0>48000}");
        check_crowd(&stack, 250, |n| (client.get("/hello").header("x-large", large(n)), None)).await;
    }

    async fn requests_with_many_headers_stay_within_it(stack: StackBuilder) {
        let stack = start(stack).await;
        let client = stack.client("web");
        check_crowd(&stack, 250, |n| {
            let many = (0..90).fold(client.get("/hello"), |call, m| {
                call.header(&format!("x-header-{m}"), format!("{n:0>500}"))
            });
            (many, None)
        }).await;
    }

    async fn chunked_uploads_stay_within_it(stack: StackBuilder) {
        let stack = start(stack).await;
        let client = stack.client("web");
        check_crowd(&stack, 60, |_| upload(&client)).await;
    }

    async fn uploads_of_no_declared_length_over_http2_stay_within_it(stack: StackBuilder) {
        let stack = start(stack).await;
        let clients = [stack.client("web").http2().await, stack.client("web").http2().await, stack.client("web").http2().await];
        check_crowd(&stack, 250, |n| upload(&clients[n % clients.len()])).await;
    }
}

/// More than Envoy ever takes in before it is released.
fn upload(client: &Client) -> (Call, Option<Progress>) {
    let upload = Upload::new(50_000_000, 1).undeclared();
    let progress = upload.progress();
    (client.post("/echo", "").body(upload), Some(progress))
}

/// A target that stays away, behind bounds that only the Envoy's bytes are.
async fn start(stack: StackBuilder) -> Stack {
    let web = Target::http("web")
        .upstream(["--start-delay", "300s"])
        .spec("workload.process.startTimeout", "300s")
        .spec("hold.timeout", "300s")
        .spec("hold.maxRequests", 100_000)
        .spec("hold.maxBytes", "10Gi");
    let stack = stack
        .target(web)
        .envoy(|envoy| envoy.setting("limits.bytes", LIMIT))
        .start()
        .await;
    // Both workers hold once, so that what they allocate once is not counted below.
    let client = stack.client("web");
    let held: Vec<Pending> = (0..20).map(|_| client.get("/hello").spawn()).collect();
    eventually("they are held", PATIENCE, || async {
        stack.envoy_holds().await == 20
    })
    .await;
    for call in held {
        call.leave().await;
    }
    eventually("they have left", PATIENCE, || async {
        stack.envoy_holds().await == 0
    })
    .await;
    stack
}

/// Sends a crowd until some of it is refused for the Envoy's bytes, and sees what Envoy takes for the rest.
async fn check_crowd(stack: &Stack, crowd: usize, call: impl Fn(usize) -> (Call, Option<Progress>)) {
    let before = stack.envoy.allocated().await;
    let mut held = Vec::new();
    let mut refused = Vec::new();
    for n in 0..crowd {
        let (call, progress) = call(n);
        held.push((call.spawn(), progress));
    }
    eventually(
        "the bound is reached, and no request is on the way",
        PATIENCE,
        || {
            let done = held.extract_if(.., |(call, _)| call.is_finished());
            refused.extend(done.map(|(call, _)| call));
            let (held, refused) = (held.len() as u64, refused.len());
            async move { refused > 0 && stack.envoy_holds().await == held }
        },
    )
    .await;
    let sent = || {
        held.iter()
            .flat_map(|(_, progress)| progress)
            .map(Progress::sent)
            .sum::<u64>()
    };
    let (mut last, mut since) = (u64::MAX, tokio::time::Instant::now());
    eventually("the clients are blocked", PATIENCE, || {
        let now = sent();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
        let still = since.elapsed() >= SECOND;
        async move { still }
    })
    .await;

    let grown = stack.envoy.allocated().await.saturating_sub(before);

    for call in refused {
        assert_refused(&call.reply().await);
    }
    let count = held.len();
    println!(
        "{count} held of {crowd}: {} bytes each, {grown} of {LIMIT} bytes",
        grown / count as u64
    );
    assert!(count >= ENOUGH, "must hold many: {count}");
    assert!(
        grown * 2 <= LIMIT * 3,
        "{count} held requests must not take {grown} bytes of Envoy's memory, where {LIMIT} are allowed"
    );
    for (call, _) in held {
        call.leave().await;
    }
}

fn assert_refused(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.problem().kind, "urn:holdfast:envoy-bytes", "{reply:?}");
}
