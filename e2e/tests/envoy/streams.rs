//! Each kind of stream works when it is the request that wakes.

use std::time::Duration;

use futures_util::stream;
use harness::grpc::{say, say_often};
use harness::{Target, Upload, both_relays};

const STARTS_SLOWLY: [&str; 2] = ["--start-delay", "300ms"];

both_relays! {
    async fn a_grpc_call_wakes(stack: StackBuilder) {
        let stack = stack.target(Target::grpc("echo").upstream(STARTS_SLOWLY)).start().await;

        let answer = stack.grpc("echo").unary(say("hello")).await.unwrap();

        assert!(answer.metadata().contains_key("server-timing"), "must say that it was held: {answer:?}");
        assert_eq!(answer.into_inner().message, "hello");
        assert_eq!(stack.journal("echo").starts(), 1, "one call must cause one start");
    }

    async fn a_grpc_server_stream_wakes(stack: StackBuilder) {
        let stack = stack.target(Target::grpc("echo").upstream(STARTS_SLOWLY)).start().await;

        let request = say_often("tick", 5, Duration::from_millis(20));
        let mut answers = stack.grpc("echo").server_stream(request).await.unwrap().into_inner();

        for index in 0..5 {
            let answer = answers.message().await.unwrap().expect("five answers");
            assert_eq!((answer.message.as_str(), answer.index), ("tick", index));
        }
        assert!(answers.message().await.unwrap().is_none(), "must end after five");
    }

    async fn a_grpc_stream_in_both_directions_wakes(stack: StackBuilder) {
        let stack = stack.target(Target::grpc("echo").upstream(STARTS_SLOWLY)).start().await;

        let words = ["one", "two", "three"];
        let mut answers = stack.grpc("echo").bidirectional(stream::iter(words.map(say))).await.unwrap().into_inner();

        for word in words {
            assert_eq!(answers.message().await.unwrap().expect("an answer for each").message, word);
        }
        assert!(answers.message().await.unwrap().is_none(), "must end with the client's side");
    }

    async fn a_websocket_wakes(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(STARTS_SLOWLY)).start().await;

        let mut socket = stack.websocket("web").await.unwrap();

        assert!(socket.response.headers().contains_key("server-timing"), "must say that it was held");
        assert_eq!(socket.echo("hello").await.unwrap(), "hello");
        assert_eq!(socket.echo("still here").await.unwrap(), "still here");
        socket.close().await.unwrap();
    }

    async fn server_sent_events_wake(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(STARTS_SLOWLY)).start().await;

        let mut answer = stack.client("web").get("/events?period=20ms").open().await.unwrap();

        assert_eq!(answer.status, 200);
        let mut seen = String::new();
        while !seen.contains("event 3") {
            seen += std::str::from_utf8(&answer.chunk().await.unwrap().expect("more events")).unwrap();
        }
        assert!(answer.headers.contains_key("server-timing"), "must say that it was held");
    }

    async fn a_slow_upload_to_a_warm_target_outlasts_the_longest_hold(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").spec("hold.timeout", "1s")).start().await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

        // Sixteen pieces, 200 ms apart.
        let upload = Upload::new(16 * 16 * 1024, 1).slowly(Duration::from_millis(200));
        let hash = upload.sha256();
        let reply = stack.client("web").post("/echo", "").body(upload).send().await;

        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.took > Duration::from_secs(2), "the upload must outlast the hold: {:?}", reply.took);
        assert_eq!(reply.json()["sha256"], hash.as_str(), "must arrive whole");
    }
}
