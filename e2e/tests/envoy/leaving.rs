//! A client that leaves while it is held: its place is free, and the workload never sees its request.

use std::time::Duration;

use harness::{Client, Stack, StackBuilder, Target, Upload, both_relays, eventually};

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn a_place_is_free_at_once_when_a_connection_closes(stack: StackBuilder) {
        let stack = one_place(stack).await;
        let client = stack.client("web");
        check_the_place_is_free(&stack, &client).await;
    }

    async fn a_place_is_free_at_once_when_a_stream_is_reset(stack: StackBuilder) {
        let stack = one_place(stack).await;
        let client = stack.client("web").http2().await;
        check_the_place_is_free(&stack, &client).await;
    }

    async fn clients_that_left_are_never_resumed(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(["--start-delay", "3s"])).start().await;
        let (many, one) = (stack.client("web"), stack.client("web").http2().await);
        let call = |client: &Client, id: &str| client.get(&format!("/hello?id={id}")).spawn();
        let leaving: Vec<_> = (0..20).map(|n| call(if n % 2 == 0 { &many } else { &one }, "left")).collect();
        let staying = [call(&many, "stayed"), call(&one, "stayed")];
        eventually("all are held", SECOND * 2, || async { stack.held("web").await == 22 }).await;

        eventually("Envoy's gauge says so", SECOND * 2, || async { stack.envoy_holds().await == 22 }).await;
        for call in leaving {
            call.leave().await;
        }

        for call in staying {
            assert_eq!(call.reply().await.status, 200, "a client that stays must be answered");
        }
        let journal = stack.journal("web");
        let ids: Vec<_> = journal.requests().iter().filter_map(|request| request.id.clone()).collect();
        assert_eq!(ids, ["stayed", "stayed"], "a client that left must not reach the workload");
        eventually("nothing is held", SECOND * 5, || async { stack.held("web").await == 0 }).await;
        eventually("Envoy's gauge is back at 0", SECOND * 5, || async { stack.envoy_holds().await == 0 }).await;
    }

    async fn a_client_that_leaves_in_the_middle_of_a_large_http1_upload_is_gone_by_the_deadline(stack: StackBuilder) {
        let web = Target::http("web").upstream(["--start-delay", "50s"]).spec("hold.timeout", "2s");
        let stack = stack.target(web).start().await;
        let upload = Upload::new(20 << 20, 1);
        let progress = upload.progress();
        let call = stack.client("web").post("/echo", "").body(upload).spawn();
        eventually("the upload is held", SECOND * 5, || async { stack.held("web").await == 1 }).await;
        assert!(progress.sent() < 20 << 20, "Envoy must not take in the whole body");

        call.leave().await;

        eventually("its place is free", SECOND * 4, || async { stack.held("web").await == 0 }).await;
    }
}

async fn one_place(stack: StackBuilder) -> Stack {
    let web = Target::http("web")
        .upstream(["--start-delay", "50s"])
        .spec("hold.maxRequests", 1);
    stack.target(web).start().await
}

async fn check_the_place_is_free(stack: &Stack, client: &Client) {
    let first = client.get("/hello").spawn();
    eventually("the first is held", SECOND * 5, || async {
        stack.held("web").await == 1
    })
    .await;
    assert_eq!(
        client.get("/hello").send().await.status,
        503,
        "there must be one place only"
    );

    first.leave().await;

    // Refused once or twice at most: until Envoy has read that the client left.
    let second = eventually("the place can be taken", SECOND, || async {
        let call = client.get("/hello").spawn();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (!call.is_finished()).then_some(call)
    })
    .await;
    assert_eq!(
        client.get("/hello").send().await.status,
        503,
        "and there must be one place only"
    );
    second.leave().await;
    eventually("nothing is held", SECOND * 5, || async {
        stack.envoy_holds().await == 0
    })
    .await;
}
