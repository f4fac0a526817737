//! Bytes 0x80 to 0xFF in every header that the filter reads: the request passes or is refused, and the VM lives.
//!
//! The target sleeps all the time, so that the filter reads every header of every request; each is held for 200 ms,
//! or refused at once because `ignore` applies.

use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::future::join_all;
use harness::{Stack, Target, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);
const BYTES: RangeInclusive<u8> = 0x80..=0xff;
/// Headers that the filter reads and Envoy hands on as they come, and what makes the filter look closely at them.
const HEADERS: [(&str, &str); 3] = [
    ("user-agent", "kube-probe"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "1"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_values_over_http1_and_http2() {
    let stack = start().await;
    let (http1, http2) = (stack.client("web"), stack.client("web").http2().await);

    for client in [http1, http2] {
        for (name, start) in HEADERS {
            let calls = values(start).map(|value| client.get("/hello").header(name, value).spawn());
            for reply in join_all(calls.collect::<Vec<_>>().into_iter().map(harness::Pending::reply)).await {
                // A gRPC refusal is 200 with a grpc-status.
                let refused = matches!(reply.status, 503 | 504)
                    || reply.grpc_status().is_some_and(|status| status != 0);
                assert!(
                    refused,
                    "{name}: must be refused, as the target never comes up: {reply:?}"
                );
            }
        }
    }

    let seen = HEADERS.len() as u64 * 2 * values("").count() as u64;
    check_the_vms_live(&stack, seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_path_over_http2() {
    let stack = start().await;

    let answers = values("/healthz").map(|path| {
        let headers = [
            (&b":path"[..], path),
            (b":authority", b"web.example.com".to_vec()),
        ];
        raw_http2(stack.envoy.port(), headers.into())
    });
    let answers = join_all(answers.collect::<Vec<_>>()).await;

    let answered = answers.iter().filter(|answer| **answer == Raw::Answered).count();
    assert_eq!(
        answered,
        values("").count(),
        "Envoy hands on any path, so each must be answered: {answers:?}"
    );
    check_the_vms_live(&stack, answered as u64).await;
}

/// Envoy refuses these itself. Should that change, the filter must stand it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_envoy_does_not_hand_on() {
    let stack = start().await;
    let port = stack.envoy.port();

    join_all(BYTES.map(|byte| check_envoy_refuses(port, byte))).await;

    check_the_vms_live(&stack, 0).await;
}

async fn check_envoy_refuses(port: u16, byte: u8) {
    let with = |before: &str, after: &str| [before.as_bytes(), &[byte], after.as_bytes()].concat();
    for head in [
        with("GET /", " HTTP/1.1\r\nhost: web.example.com\r\n\r\n"),
        with("GET / HTTP/1.1\r\nhost: web", ".example.com\r\n\r\n"),
        with(
            "POST / HTTP/1.1\r\nhost: web.example.com\r\ncontent-length: 1",
            "\r\n\r\n",
        ),
    ] {
        let status = raw_http1(port, &head).await;
        assert!(
            status.contains(" 400 "),
            "must be refused by Envoy, not {status:?}: {}",
            head.escape_ascii()
        );
    }
    let (path, authority) = (
        (&b":path"[..], b"/".to_vec()),
        (&b":authority"[..], b"web.example.com".to_vec()),
    );
    let length = (&b"content-length"[..], with("1", ""));
    assert_eq!(
        raw_http2(port, vec![path.clone(), authority, length]).await,
        Raw::Ended,
        "length {byte:#x}"
    );
    assert_eq!(
        raw_http2(port, vec![path, (b":authority", with("web", ""))]).await,
        Raw::Ended,
        "authority {byte:#x}"
    );
}

/// Every byte alone behind `start`, and all of them at once.
fn values(start: &str) -> impl Iterator<Item = Vec<u8>> {
    let one = |byte| [start.as_bytes(), &[byte]].concat();
    BYTES
        .map(one)
        .chain([[start.as_bytes(), &BYTES.collect::<Vec<_>>()].concat()])
}

async fn start() -> Stack {
    let web = Target::http("web")
        .upstream(["--start-delay", "50s"])
        .spec("hold.timeout", "200ms");
    let web = web
        .spec("ignore.paths", vec!["/healthz"])
        .spec("ignore.userAgents", vec!["kube-probe"]);
    Stack::builder()
        .target(web)
        .target(Target::http("warm"))
        .start()
        .await
}

/// The filter has seen `seen` requests at least, no VM was lost, and both workers still hold, wake and pass.
async fn check_the_vms_live(stack: &Stack, seen: u64) {
    eventually("the filter has counted them", SECOND * 5, || async {
        let counted = stack
            .envoy
            .stats("wasmcustom.holdfast.requests_refused_total")
            .await;
        counted.iter().map(|(_, count)| count).sum::<u64>() >= seen
    })
    .await;
    assert!(
        !stack.envoy.log().contains("panicked"),
        "the module must not have panicked"
    );
    for stat in ["vm_reload_success", "vm_reload_backoff", "vm_reload_failure"] {
        let reloads = stack.envoy.stat(&format!("wasm.holdfast.{stat}")).await;
        assert_eq!(reloads, 0, "{stat}: no VM must have been lost");
    }
    let warm = stack.client("warm");
    for reply in join_all((0..20).map(|_| warm.get("/hello").send())).await {
        assert_eq!(reply.status, 200, "both workers must serve on: {reply:?}");
    }
}

/// What became of a raw request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raw {
    /// The stream got response headers.
    Answered,
    /// The stream was reset or the connection closed.
    Ended,
}

/// Sends the head as it is, and reads the first line of the answer.
async fn raw_http1(port: u16, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).await.unwrap();
    status
}

/// Sends one GET on a connection of its own, without a library that would object to the bytes.
async fn raw_http2(port: u16, headers: Vec<(&'static [u8], Vec<u8>)>) -> Raw {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_STREAM_END_HEADERS: u8 = 5;
    let mut block = Vec::new();
    for (name, value) in [(&b":method"[..], &b"GET"[..]), (b":scheme", b"http")] {
        literal(&mut block, name, value);
    }
    for (name, value) in &headers {
        literal(&mut block, name, value);
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM_END_HEADERS, 1, &block));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        match head[3] {
            HEADERS => return Raw::Answered,
            RST_STREAM | GOAWAY => return Raw::Ended,
            _ => {}
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
    }
    Raw::Ended
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A header field that enters no table (RFC 7541, section 6.2.2), with neither string compressed.
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        // Lengths up to 126 fit into the first byte; up to 254 into a second one.
        match u8::try_from(text.len()).unwrap() {
            length @ 0..=126 => block.push(length),
            length => block.extend([127, length - 127]),
        }
        block.extend_from_slice(text);
    }
}
