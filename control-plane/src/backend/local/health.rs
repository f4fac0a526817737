//! One call of `grpc.health.v1.Health/Check`, by hand: its two messages have one field each.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Longest answer read, in bytes: that of a health service has seven.
const MAX_ANSWER: usize = 64 << 10;
/// A message of one field `status` with the value SERVING.
const SERVING: [u8; 2] = [0x08, 0x01];

/// `Some` if the health service there says that `service` is serving.
pub(super) async fn is_serving(address: SocketAddr, service: &str) -> Option<()> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .ok()?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", super::probe::USER_AGENT)
        .body(Full::new(question(service)))
        .ok()?;
    let answer = async move {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        if !head.status.is_success() || !is_well(&head.headers, true) {
            return None;
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await.ok()?;
        if !is_well(body.trailers()?, false) {
            return None;
        }
        says_serving(&body.to_bytes()).then_some(())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What came before the connection ended is still to be taken.
        _ = connection => answer.await,
    }
}

/// `HealthCheckRequest { service }` as a gRPC message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    // Not compressed.
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

/// The status of the call, if these headers have it. `default`: what to think if they have not.
fn is_well(headers: &HeaderMap, default: bool) -> bool {
    headers
        .get("grpc-status")
        .map_or(default, |status| status.as_bytes() == b"0")
}

/// Fields are written in the order of their numbers, and `status` is the first.
fn says_serving(answer: &[u8]) -> bool {
    matches!(answer, [0, _, _, _, _, message @ ..] if message.starts_with(&SERVING))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_stream::wrappers::TcpListenerStream;
    use tonic_health::ServingStatus;

    use super::*;

    #[tokio::test]
    async fn asks_a_real_health_service() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reporter, service) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let long = "shop.Web/".repeat(28);
        assert_eq!(is_serving(address, "").await, Some(()), "the server serves");
        assert_eq!(is_serving(address, &long).await, None, "nobody knows it");
        for (status, expected) in [
            (ServingStatus::NotServing, None),
            (ServingStatus::Serving, Some(())),
            (ServingStatus::Unknown, None),
        ] {
            reporter.set_service_status(&long, status).await;
            assert_eq!(
                is_serving(address, &long).await,
                expected,
                "{status} must be read"
            );
        }
    }

    #[tokio::test]
    async fn what_speaks_no_grpc_is_not_serving() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
            }
        });
        let asked = tokio::time::timeout(Duration::from_secs(20), is_serving(address, "")).await;
        assert_eq!(asked, Ok(None), "must come to an end with a no");
    }
}
