//! One call of `grpc.health.v1.Health/Check`, by hand: its two messages have one field each.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::attempt::{No, USER_AGENT, connect};

/// Longest answer read, in bytes: that of a health service has seven.
const MAX_ANSWER: usize = 64 << 10;
/// What is not gRPC, or not of a health service.
const NO_GRPC: No = Cow::Borrowed("no answer in gRPC");

/// The health service there says that `service` is serving.
pub(super) async fn is_serving(address: SocketAddr, service: &str) -> Result<(), No> {
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .map_err(|_| NO_GRPC)?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", USER_AGENT)
        .body(Full::new(question(service)))
        .map_err(|e| e.to_string())?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|_| NO_GRPC)?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(format!("status {}", head.status.as_u16()).into());
        }
        check_status(&head.headers, Ok(()))?;
        let body = Limited::new(body, MAX_ANSWER);
        let body = body.collect().await.map_err(|_| NO_GRPC)?;
        check_status(body.trailers().ok_or(NO_GRPC)?, Err(NO_GRPC))?;
        check_answer(&body.to_bytes())
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

/// By the status of the call, if these headers have it. `default`: what to think if they have not.
fn check_status(headers: &HeaderMap, default: Result<(), No>) -> Result<(), No> {
    let Some(status) = headers.get("grpc-status") else {
        return default;
    };
    match status.as_bytes() {
        b"0" => Ok(()),
        // What the protocol of health checks says of a name that the server does not know.
        b"5" => Err("no such service: NOT_FOUND".into()),
        b"12" => Err("no health service: UNIMPLEMENTED".into()),
        other => Err(format!("grpc-status {}", other.escape_ascii()).into()),
    }
}

/// By the message of one field `status`: fields are written in the order of their numbers, and it is the first.
fn check_answer(answer: &[u8]) -> Result<(), No> {
    let [0, _, _, _, _, message @ ..] = answer else {
        return Err(NO_GRPC);
    };
    match message {
        [0x08, 1, ..] => Ok(()),
        [] | [0x08, 0, ..] => Err("UNKNOWN".into()),
        [0x08, 2, ..] => Err("NOT_SERVING".into()),
        [0x08, 3, ..] => Err("SERVICE_UNKNOWN".into()),
        _ => Err(NO_GRPC),
    }
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
        assert_eq!(is_serving(address, "").await, Ok(()), "the server serves");
        let unknown = Err("no such service: NOT_FOUND".into());
        assert_eq!(
            is_serving(address, &long).await,
            unknown,
            "the server does not know it"
        );
        for (status, expected) in [
            (ServingStatus::NotServing, Err("NOT_SERVING".into())),
            (ServingStatus::Serving, Ok(())),
            (ServingStatus::Unknown, Err("UNKNOWN".into())),
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
        assert_eq!(asked, Ok(Err(NO_GRPC)), "must come to an end with a no");
    }
}
