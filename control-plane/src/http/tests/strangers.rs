//! Over real sockets: a crowd that says nothing, or never says it all, keeps no other caller out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::connections::{read_until, serving};
use super::*;
use crate::http::server::{Bounds, Limits, Patience};

const GET: &[u8] = b"GET /v1/targets HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n";
/// How HTTP/2 begins: the preface, and a SETTINGS frame without settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0holdfast";
/// HEADERS of stream 1 without END_HEADERS, then CONTINUATION frames that never end them.
const HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
const CONTINUATION: &[u8] = b"\0\0\x01\x09\0\0\0\0\x01\x84";

const BOUNDS: Bounds = Bounds {
    known: 8,
    strangers: 8,
    strangers_of_one: 4,
};
/// So long that no test sees it.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_stranger_that_never_asks_is_cut_off_whatever_it_sends() {
    let server = Server::with_token("secret").await;
    let address = listening(&server, BOUNDS, Duration::from_millis(100), LONG).await;
    let cases: [(&str, &[u8], &[u8]); 6] = [
        ("nothing", b"", b""),
        ("half a preface", b"PRI", b""),
        ("half a head", b"GET / HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n"),
        ("h2 without a stream", PREFACE, b""),
        ("h2 with pings", PREFACE, PING),
        ("h2 with headers that never end", PREFACE, b""),
    ];
    for (name, first, again) in cases {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(first).await.unwrap();
        if name.ends_with("never end") {
            stream.write_all(HEADERS).await.unwrap();
        }
        let (mut from, mut to) = stream.into_split();
        let again = if name.ends_with("never end") {
            CONTINUATION
        } else {
            again
        };
        let sending = async {
            // A server that reads no more lets a write fail, and that is as good.
            while !again.is_empty() && to.write_all(again).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut seen = Vec::new();
        tokio::select! {
            // An end or a reset: bytes that were on their way may have met a closed socket.
            _ = from.read_to_end(&mut seen) => {}
            () = sending => {}
            () = tokio::time::sleep(LONG) => panic!("{name}: must be cut off"),
        }
    }
}

#[tokio::test]
async fn a_stranger_that_was_refused_is_cut_off_and_a_caller_is_not() {
    let server = Server::with_token("secret").await;
    let address = listening(&server, BOUNDS, Duration::from_millis(100), LONG).await;
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(GET).await.unwrap();
    read_until(&mut caller, "\"default/web\"").await;
    for path in ["/v1/targets", "/healthz"] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        let get = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stranger.write_all(get.as_bytes()).await.unwrap();
        let mut seen = String::new();
        stranger.read_to_string(&mut seen).await.unwrap();
        assert!(seen.starts_with("HTTP/1.1 "), "must be answered: {seen}");
    }
    caller.write_all(GET).await.unwrap();
    read_until(&mut caller, "\"default/web\"").await;
}

#[tokio::test]
async fn a_caller_that_asks_no_more_is_cut_off_in_the_end() {
    let server = Server::with_token("secret").await;
    let patience = Duration::from_millis(100);
    let address = listening(&server, BOUNDS, patience, patience).await;
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(GET).await.unwrap();
    let mut seen = String::new();
    caller.read_to_string(&mut seen).await.unwrap();
    assert!(seen.contains("\"default/web\""), "must be answered: {seen}");
}

#[tokio::test]
async fn an_open_poll_outlives_every_patience() {
    let server = Server::with_token("secret").await;
    let patience = Duration::from_millis(50);
    let address = listening(&server, BOUNDS, patience, patience).await;
    let mut poll = TcpStream::connect(address).await.unwrap();
    let since = server.fleet.view().borrow().revision();
    poll.write_all(sync(&json!(since), 20 * 50).as_bytes())
        .await
        .unwrap();
    let answer = read_until(&mut poll, "}").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK"),
        "must be answered: {answer}"
    );
}

#[tokio::test]
async fn a_silent_crowd_keeps_no_other_caller_out() {
    let server = Server::with_token("secret").await;
    let address = listening(&server, BOUNDS, LONG, LONG).await;
    let mut poll = TcpStream::connect(address).await.unwrap();
    let since = server.fleet.view().borrow().revision();
    poll.write_all(sync(&json!(since), 60_000).as_bytes())
        .await
        .unwrap();
    server.until_polls(1).await;

    // One address fills its share, and the other all the rest.
    let mut crowd = Vec::new();
    for n in 0..100 {
        let last = if n < 50 { 2 } else { 2 + n % 4 };
        crowd.push(connect([127, 0, 0, last], address).await);
    }
    for from in [1, 2, 9] {
        let mut caller = connect([127, 0, 0, from], address).await;
        caller.write_all(GET).await.unwrap();
        let answer = read_until(&mut caller, "\"default/web\"").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "127.0.0.{from}: {answer}");
    }
    assert_eq!(server.polling().await, 1, "the open poll must stay");
    let metrics = body(server.get("/metrics").await).await;
    for bound in ["connections", "connections_of_one"] {
        let line = format!("holdfast_bounds_hit_total{{bound=\"{bound}\"}}");
        assert!(metrics.contains(&line), "{bound} must be counted: {metrics}");
    }
    let mut seen = Vec::new();
    let _ = crowd[0].read_to_end(&mut seen).await;
    assert!(seen.is_empty(), "the first of the crowd must be cut off");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_refused() {
    let server = Server::start().await;
    tokio::time::pause();
    let body = Body::from_stream(futures_util::stream::pending::<
        Result<&'static str, std::io::Error>,
    >());
    let request = Request::post("/v1/report").header("content-type", "application/json");
    let response = server.call(request.body(body).unwrap()).await;
    check_problem(response, 408, "urn:holdfast:too-slow").await;
}

fn sync(since: &Value, wait_ms: u64) -> String {
    let proxy = json!({"id": "a", "incarnation": "1"});
    let body = json!({"proxy": proxy, "since": since, "wait_ms": wait_ms}).to_string();
    let length = body.len();
    format!(
        "POST /v1/sync HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn listening(server: &Server, bounds: Bounds, stranger: Duration, known: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Patience { stranger, known };
    tokio::spawn(serving(server, Limits { bounds, patience }).serve(listener));
    address
}

/// All of 127.0.0.0/8 is this machine.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}
