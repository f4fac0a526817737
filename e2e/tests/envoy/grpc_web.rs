//! Calls that a filter before Holdfast makes into gRPC: clients are told of a refusal in their own way.

use std::time::Duration;

use harness::{Client, Reply, Stack, StackBuilder, Target, both_relays, eventually};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
/// The workload stays away for longer than any test takes.
const NEVER_UP: [&str; 2] = ["--start-delay", "50s"];

both_relays! {
    async fn a_browser_reads_the_status_of_a_hold_that_runs_out(stack: StackBuilder) {
        let echo = Target::grpc("echo").upstream(NEVER_UP).spec("hold.timeout", "500ms");
        let stack = behind_grpc_web(stack).target(echo).start().await;

        for (content_type, answered) in [
            ("application/grpc-web+proto", "application/grpc-web+proto"),
            ("application/grpc-web-text", "application/grpc-web-text+proto"),
        ] {
            let reply = web_call(&stack.client("echo"), content_type).await;

            assert_refused(&reply, 4);
            assert_eq!(reply.header("content-type"), Some(answered), "{reply:?}");
            assert_eq!(reply.header("grpc-message"), Some("The workload did not become ready in time"), "{reply:?}");
            assert!(reply.held().is_some_and(|held| held >= SECOND / 2), "must have been held: {reply:?}");
        }
    }

    async fn a_browser_reads_the_status_of_a_bound(stack: StackBuilder) {
        let echo = Target::grpc("echo").upstream(NEVER_UP).spec("hold.maxRequests", 1);
        let stack = behind_grpc_web(stack).target(echo).start().await;
        let client = stack.client("echo");
        let held = client.post("/holdfast.echo.v1.Echo/Unary", MESSAGE).header("content-type", WEB).spawn();
        eventually("the first is held", SECOND * 5, || async { stack.held("echo").await == 1 }).await;

        assert_refused(&web_call(&client, WEB).await, 8);
        held.leave().await;
    }

    async fn a_browser_reads_why_a_workload_has_failed(stack: StackBuilder) {
        let crash = ["--crash", "--crash-message", "100 % of the disk is full"];
        let stack = behind_grpc_web(stack)
            .target(Target::grpc("echo").upstream(crash))
            .control(|control| control.args(["--retry-initial", "30s", "--retry-max", "30s"]))
            .start()
            .await;
        let client = stack.client("echo");

        // The first is held, the second refused at its headers.
        for time in ["first", "second"] {
            let web = web_call(&client, WEB).await;
            assert_refused(&web, 14);
            let said = web.header("grpc-message").unwrap_or_default();
            assert!(said.contains("100 %25 of the disk is full"), "must say why, the {time} time: {web:?}");
        }
        let grpc = harness::grpc::raw_unary(&client.http2().await, "hello").send().await;
        assert_refused(&grpc, 14);
        assert_eq!(
            (grpc.header("content-type"), grpc.header("grpc-message")),
            (Some("application/grpc"), web_call(&client, WEB).await.header("grpc-message")),
            "both must be told the same"
        );
    }
}

/// Envoy then makes a body for what it takes for HTTP, and the filter goes by the HTTP status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_reads_unavailable_where_envoy_words_its_own_answers() {
    let echo = Target::grpc("echo")
        .upstream(NEVER_UP)
        .spec("hold.timeout", "500ms");
    let stack = behind_grpc_web(Stack::builder())
        .target(echo)
        .envoy(|envoy| {
            let format = json!({"text_format_source": {"inline_string": "refused: %RESPONSE_CODE%"}});
            envoy.hcm("local_reply_config", json!({"body_format": format}))
        })
        .start()
        .await;

    let reply = web_call(&stack.client("echo"), WEB).await;

    assert_eq!(reply.grpc_status(), Some(14), "{reply:?}");
    let grpc = harness::grpc::raw_unary(&stack.client("echo").http2().await, "hello");
    let grpc = grpc.send().await;
    assert_eq!(
        (grpc.grpc_status(), grpc.header("grpc-message")),
        (Some(4), Some("refused: 200")),
        "{grpc:?}"
    );
}

/// The Connect protocol, of which Envoy makes gRPC in the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_client_reads_the_code_of_a_refusal() {
    let echo = Target::grpc("echo")
        .upstream(NEVER_UP)
        .spec("hold.timeout", "500ms");
    let stack = Stack::builder()
        .envoy(|envoy| envoy.filter_before("connect_grpc_bridge.v3.FilterConfig"))
        .target(echo)
        .start()
        .await;

    let call = stack.client("echo").post("/holdfast.echo.v1.Echo/Unary", "");
    let call = call.header("content-type", "application/proto");
    let reply = call.header("connect-protocol-version", "1").send().await;

    assert_eq!(reply.json()["code"], "deadline_exceeded", "{reply:?}");
}

/// No filter makes gRPC of it: it is refused as any HTTP request, and clients of gRPC-Web go by the HTTP status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_that_filter_a_browser_reads_the_http_status() {
    let echo = Target::grpc("echo")
        .upstream(NEVER_UP)
        .spec("hold.timeout", "500ms");
    let stack = Stack::builder().target(echo).start().await;

    let reply = web_call(&stack.client("echo"), WEB).await;

    assert_eq!((reply.status, reply.grpc_status()), (504, None), "{reply:?}");
    assert_eq!(reply.problem().kind, "urn:holdfast:hold-timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browsers_call_wakes_the_workload() {
    let stack = behind_grpc_web(Stack::builder())
        .target(Target::grpc("echo"))
        .start()
        .await;

    let reply = web_call(&stack.client("echo"), WEB).await;

    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some(WEB)),
        "{reply:?}"
    );
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(
        body.contains("hello") && body.contains("grpc-status:0"),
        "must be answered by the workload: {body:?}"
    );
}

const WEB: &str = "application/grpc-web+proto";
/// `EchoRequest { message: "hello" }`, in a frame that is not compressed.
const MESSAGE: &[u8] = b"\0\0\0\0\x07\x0a\x05hello";
/// The same in base64.
const MESSAGE_AS_TEXT: &str = "AAAAAAcKBWhlbGxv";

fn behind_grpc_web(stack: StackBuilder) -> StackBuilder {
    stack.envoy(|envoy| envoy.filter_before("grpc_web.v3.GrpcWeb"))
}

/// As a browser makes it: over HTTP/1.1, and asking for an answer of the same kind.
async fn web_call(client: &Client, content_type: &str) -> Reply {
    let body = if content_type.contains("text") {
        MESSAGE_AS_TEXT.as_bytes()
    } else {
        MESSAGE
    };
    let call = client.post("/holdfast.echo.v1.Echo/Unary", body);
    let call = call
        .header("content-type", content_type)
        .header("accept", content_type);
    call.header("x-grpc-web", "1").send().await
}

/// Trailers only, and those among the headers.
fn assert_refused(reply: &Reply, grpc_status: i32) {
    assert_eq!(
        (reply.status, reply.grpc_status()),
        (200, Some(grpc_status)),
        "{reply:?}"
    );
    assert!(reply.body.is_empty(), "must have nothing but headers: {reply:?}");
    assert!(
        reply.header("retry-after").is_some(),
        "must say when to come back: {reply:?}"
    );
}
