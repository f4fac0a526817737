//! What ships in `local-envoy/extproc/`, with the program `extproc` behind the real Envoy: the answers that its README promises.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;

use flate2::read::GzDecoder;
use harness::{Client, Reply, Shipped, Upload, binaries};
use serde_json::{Value, json};

/// Of the requests in the Python SDK's README, as printed there.
const GET_DIGEST: &str = "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6";
const PUT_DIGEST: &str = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";

const CHAIN: &str = "TrivialExtProcService,TimerExtProcService,EchoExtProcService,DigestExtProcService,\
                     DecoratedExtProcService,CtxExtProcService";

const SIX: [(u16, &[&str]); 6] = [
    (50051, &["-s", "examples.TrivialExtProcService"]),
    (50052, &["-s", "examples.TimerExtProcService"]),
    (50053, &["-s", "examples.EchoExtProcService"]),
    (50054, &["-s", "examples.DigestExtProcService"]),
    (50055, &["-s", "examples.DecoratedExtProcService"]),
    (50056, &["-s", "examples.CtxExtProcService"]),
];

#[test]
fn none_of_the_known_traps_is_in_it() {
    let folder = binaries::root().join("local-envoy/extproc");
    let files = ["envoy.yaml", "one-filter.yaml", "bodies.yaml"].map(|file| folder.join(file));
    let out = Command::new(binaries::extproc())
        .arg("lint")
        .args(files)
        .output()
        .unwrap();
    assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
}

#[tokio::test]
async fn six_filters_answer_as_the_python_sdk_does() {
    let envoy = Shipped::start("envoy.yaml", &SIX).await;
    let client = envoy.client(8080);

    let get = client.get("/something").send().await;
    check_processed(&get, &get.json(), GET_DIGEST);
    assert_eq!(get.json()["body"], "", "the body of a GET must be empty");

    let hello = json!({"hello": "hi"}).to_string();
    let put = put(
        &client,
        "/something",
        &hello,
        &[("content-type", "application/json")],
    )
    .await;
    check_processed(&put, &put.json(), PUT_DIGEST);
    let seen = put.json();
    assert_eq!(
        (&seen["method"], &seen["path"]),
        (&json!("put"), &json!("/something"))
    );
    assert_eq!(seen["body"], hello.as_str());

    let passed = client.get("/no-ext-procs").send().await;
    let ours = |name: &&&str| passed.header(name).is_some() || passed.json()["headers"].get(**name).is_some();
    let all = [
        "x-extra-request-id",
        "x-request-started",
        "x-duration-ns",
        "x-request-digest",
        "x-ext-procs-applied",
    ];
    assert_eq!(
        all.iter().find(|name| ours(name)),
        None,
        "must pass all processors by: {passed:?}"
    );

    let streams = envoy.stat("streams_started").await;
    assert_eq!(
        streams, 12,
        "six for each of two requests, and none for the third"
    );
    check_quiet(&envoy).await;
}

#[tokio::test]
async fn one_filter_answers_as_six_do() {
    let all = "trivial,timer,echo,digest,decorated,ctx";
    let envoy = Shipped::start("one-filter.yaml", &[(50051, &["-s", all])]).await;
    let client = envoy.client(8080);
    let get = client.get("/something").send().await;
    check_processed(&get, &get.json(), GET_DIGEST);
    let hello = json!({"hello": "hi"}).to_string();
    let put = put(&client, "/something", &hello, &[]).await;
    check_processed(&put, &put.json(), PUT_DIGEST);
    let with_id = client.put("/a?b", "42").header("x-context-id", "42").send().await;
    assert_eq!(with_id.header("x-context-id"), Some("42"));
    let echo = client
        .put("/a", "again")
        .header("x-echo-only", "yes")
        .send()
        .await;
    assert_eq!((echo.status, echo.text()), (200, "again"));
    let passed = client.get("/no-ext-procs").send().await;
    assert_eq!(passed.header("x-ext-procs-applied"), None);
    assert_eq!(
        envoy.stat("streams_started").await,
        4,
        "one for each request that is processed"
    );
    check_quiet(&envoy).await;
}

#[tokio::test]
async fn a_request_may_be_answered_by_a_processor() {
    let envoy = Shipped::start("envoy.yaml", &SIX).await;
    let echo = put(
        &envoy.client(8080),
        "/something",
        "say it again",
        &[("x-echo-only", "true")],
    )
    .await;
    assert_eq!((echo.status, echo.text()), (200, "say it again"));
    assert_eq!(
        echo.header("x-echo-only"),
        Some("true"),
        "must have the request's headers"
    );
    let chain = echo.header("x-ext-procs-applied").unwrap();
    let without_echo = CHAIN.replace("EchoExtProcService,", "");
    assert_eq!(
        chain,
        format!("{without_echo},EchoExtProcService"),
        "the answer began with echo"
    );
    assert_eq!(envoy.stat("immediate_responses_sent").await, 1);
    check_quiet(&envoy).await;
}

#[tokio::test]
async fn phases_of_one_request_share_their_context() {
    let envoy = Shipped::start("envoy.yaml", &SIX).await;
    let client = envoy.client(8080);
    let one = async |id: u32| {
        put(
            &client,
            &format!("/a?{id}"),
            &id.to_string(),
            &[("x-context-id", &id.to_string())],
        )
        .await
    };
    let answers = futures_util::future::join_all((0..20).map(one)).await;
    for (id, answer) in answers.iter().enumerate() {
        let id = id.to_string();
        assert_eq!(
            answer.header("x-context-id"),
            Some(id.as_str()),
            "each must get its own"
        );
        assert_eq!(answer.json()["headers"]["x-context-id"], id.as_str());
        assert_eq!(answer.json()["path"], format!("/a?{id}"));
    }
    check_quiet(&envoy).await;

    let differs = put(&client, "/a", "43", &[("x-context-id", "42")]).await;
    assert_eq!(
        differs.status, 200,
        "failure_mode_allow: it goes on without the processor"
    );
    assert_eq!(differs.header("x-context-id"), None);
    let chain = differs.header("x-ext-procs-applied").unwrap();
    assert_eq!(chain, CHAIN.replace(",CtxExtProcService", ""));
    assert_eq!(envoy.stat("failure_mode_allowed").await, 1);
}

#[tokio::test]
async fn a_redirect_passes_through_all_of_them() {
    let envoy = Shipped::start("envoy.yaml", &SIX).await;
    let answer = envoy
        .client(8080)
        .get("/redirect?location=http://localhost/x")
        .send()
        .await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), Some("http://localhost/x"));
    assert_eq!(answer.header("x-ext-procs-applied"), Some(CHAIN));
    check_quiet(&envoy).await;
}

#[tokio::test]
async fn streamed_bodies_come_back_as_they_were_in_both_modes() {
    let envoy = Shipped::start("bodies.yaml", &[(9001, &["-s", "checksum"])]).await;
    for (port, path, processor) in [
        (18080, "/full-duplex", Some("checksum")),
        (18080, "/streamed", Some("checksum")),
        (19090, "/full-duplex", None),
    ] {
        for client in [envoy.client(port), envoy.client(port).http2().await] {
            // None, one byte, a piece and one byte more, and much more than all windows together.
            for length in [0, 1, 65_536, 65_537, 5 << 20] {
                let sent = Upload::new(length, 7);
                let digest = sent.sha256();
                let answer = client.call(http::Method::PUT, path).body(sent).send().await;
                assert_eq!(answer.status, 200, "{path} {length}");
                assert_eq!(
                    harness::sha256(&answer.body),
                    digest,
                    "{path}: {length} bytes must come back"
                );
                assert_eq!(answer.header("x-ext-procs-applied"), processor, "{path}");
            }
        }
    }
    check_quiet(&envoy).await;
}

#[tokio::test]
async fn what_is_found_in_the_middle_of_a_body_never_arrives() {
    let scan: &[&str] = &[
        "-s",
        "scan",
        "--set",
        "pattern=SECRET",
        "--set",
        "direction=request",
    ];
    let envoy = Shipped::start("bodies.yaml", &[(9001, scan)]).await;
    let client = envoy.client(18080);
    for path in ["/full-duplex", "/streamed"] {
        let refused = client.post(path, "top SECRET").send().await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        let clean = client.post(path, "top SECRE").send().await;
        assert_eq!((clean.status, clean.text()), (200, "top SECRE"), "{path}");
    }
    let refused = envoy.stat("immediate_responses_sent").await;
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn a_packed_answer_can_be_read_by_the_client() {
    let envoy = Shipped::start("bodies.yaml", &[(9001, &["-s", "compress"])]).await;
    let client = envoy.client(18080);
    let text = "hold fast, ".repeat(50_000);
    for path in ["/full-duplex", "/streamed"] {
        let call = client
            .post(path, text.clone())
            .header("content-type", "text/plain");
        let packed = call.header("accept-encoding", "gzip").send().await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert!(
            packed.body.len() < text.len() / 50,
            "{path}: {} bytes",
            packed.body.len()
        );
        let mut plain = Vec::new();
        GzDecoder::new(&packed.body[..]).read_to_end(&mut plain).unwrap();
        assert!(plain == text.as_bytes(), "{path}: must be what it was");
    }
    check_quiet(&envoy).await;
}

async fn put(client: &Client, path: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
    let call = client.put(path, body.to_owned());
    let call = headers
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value));
    call.send().await
}

/// Both ways of one request have what the processors add.
fn check_processed(answer: &Reply, seen: &Value, digest: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: BTreeMap<String, Value> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let up = |name: &str| seen.get(name).and_then(Value::as_str);
    assert_eq!(
        answer.header("x-ext-procs-applied"),
        Some(CHAIN),
        "in the order of the request"
    );
    assert_eq!(up("x-request-digest"), Some(digest));
    assert_eq!(answer.header("x-request-digest"), Some(digest));
    assert!(up("x-request-id").is_some());
    assert_eq!(up("x-extra-request-id"), up("x-request-id"));
    assert_eq!(answer.header("x-extra-request-id"), up("x-request-id"));
    assert!(up("x-request-started").is_some_and(|time| time.ends_with('Z')));
    assert_eq!(answer.header("x-request-started"), up("x-request-started"));
    let duration: u64 = answer.header("x-duration-ns").unwrap().parse().unwrap();
    assert!(duration > 0);
    assert_eq!(
        (up("x-context-id"), answer.header("x-context-id")),
        (None, None),
        "must not be empty"
    );
}

/// Envoy had nothing to complain of.
async fn check_quiet(envoy: &Shipped) {
    for name in [
        "spurious_msgs_received",
        "streams_failed",
        "message_timeouts",
        "rejected_header_mutations",
    ] {
        assert_eq!(envoy.stat(name).await, 0, "{name}");
    }
}
