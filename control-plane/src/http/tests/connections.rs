//! Over real sockets: what becomes of connections that are kept when leadership is lost.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn a_kept_connection_gets_one_more_answer_and_ends() {
    let (server, address) = listening().await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    let get = b"GET /v1/targets HTTP/1.1\r\nhost: x\r\n\r\n";
    kept.write_all(get).await.unwrap();
    let answer = read_until(&mut kept, "\"default/web\"").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK"),
        "must be answered: {answer}"
    );
    server.active.leave();
    kept.write_all(get).await.unwrap();
    let mut last = String::new();
    kept.read_to_string(&mut last).await.unwrap();
    assert!(
        last.starts_with("HTTP/1.1 503 ") && last.contains("connection: close\r\n"),
        "must be turned away, and the connection must end: {last}"
    );
    assert_eq!(
        last.matches("HTTP/1.1").count(),
        1,
        "must be the last answer: {last}"
    );
}

#[tokio::test]
async fn a_kept_connection_that_asks_for_health_stays() {
    let (server, address) = listening().await;
    server.active.leave();
    let mut kept = TcpStream::connect(address).await.unwrap();
    for (path, status) in [("/readyz", "503"), ("/healthz", "200"), ("/metrics", "200")] {
        let get = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        kept.write_all(get.as_bytes()).await.unwrap();
        let end = match path {
            "/readyz" => "}",
            "/healthz" => "ok\n",
            _ => "# EOF\n",
        };
        let answer = read_until(&mut kept, end).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} must be answered: {answer}"
        );
    }
}

#[tokio::test]
async fn an_http2_connection_ends_once_what_is_open_is_answered() {
    let (server, address) = listening().await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let since = server.sync(None, 0).await.revision;
    let polls = ["b", "c"].map(|name| {
        let asked = json!({"proxy": {"id": name, "incarnation": "1"}, "since": since, "wait_ms": 60_000});
        let request = Request::post("http://x/v1/sync")
            .header("content-type", "application/json")
            .body(Body::from(asked.to_string()));
        tokio::spawn(sender.send_request(request.unwrap()))
    });
    while server.polling().await < polls.len() {
        tokio::task::yield_now().await;
    }
    server.active.leave();
    for poll in polls {
        let status = poll.await.unwrap().unwrap().status();
        assert_eq!(
            status,
            StatusCode::SERVICE_UNAVAILABLE,
            "must not be left hanging"
        );
    }
    connection.await.unwrap().unwrap();
    assert!(sender.is_closed(), "the connection must end");
}

pub(super) fn serving(server: &Server, limits: server::Limits) -> server::Server {
    server::Server {
        router: router(server.app.clone()),
        limits,
        tls: None,
        metrics: server.app.metrics.clone(),
        refusals: server.app.refusals.clone(),
        stop: server.app.stop.clone(),
    }
}

async fn listening() -> (Server, SocketAddr) {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serving(&server, server::Limits::of_calls(16, 1024)).serve(listener));
    (server, address)
}

pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(
            n > 0,
            "must not end before {end:?}: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen);
        // The body's end: after the head.
        if text
            .split_once("\r\n\r\n")
            .is_some_and(|(_, body)| body.contains(end))
        {
            return text.into_owned();
        }
    }
}
