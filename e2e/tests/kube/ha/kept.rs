//! Connections to one replica that are kept open, as a proxy keeps them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use harness::{Client, Pending};
use serde_json::json;

use super::replicas::WITHIN;

/// A poll of a proxy that has everything, as it stands open most of the time.
pub(crate) async fn open_poll(client: &Client) -> Pending {
    let sync = |since: serde_json::Value| {
        let proxy = json!({"id": "kept", "incarnation": "1", "term": 1});
        let body = json!({"proxy": proxy, "since": since, "wait_ms": 60_000});
        client
            .post("/v1/sync", body.to_string())
            .header("content-type", "application/json")
    };
    let known = sync(serde_json::Value::Null).send().await;
    assert_eq!(known.status, 200, "must be told: {known:?}");
    sync(known.json()["revision"].clone()).spawn()
}

/// A kept-alive HTTP/1.1 connection that has been answered once.
pub(crate) struct Kept(TcpStream);

impl Kept {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let mut kept = Self(stream);
        kept.ask();
        let mut buffer = [0; 65536];
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).trim_end().ends_with([']', '}']) {
            let n = kept.0.read(&mut buffer).unwrap();
            assert!(n > 0, "must not end yet");
            seen.extend_from_slice(&buffer[..n]);
        }
        let text = String::from_utf8_lossy(&seen);
        assert!(
            text.starts_with("HTTP/1.1 200 "),
            "must answer while it leads: {text}"
        );
        kept
    }

    pub(crate) fn ask(&mut self) {
        let request = b"GET /v1/targets HTTP/1.1\r\nhost: x\r\n\r\n";
        self.0.write_all(request).unwrap();
    }

    pub(crate) fn check_turned_away(mut self) {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("connection: close"),
            "must be turned away, and the connection must end: {answer}"
        );
    }
}
