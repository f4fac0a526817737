//! A gRPC client of the upstream's echo service.

use std::time::Duration;

use tonic::transport::Endpoint;
use upstream::echo::echo_client::EchoClient;
use upstream::echo::{EchoRequest, ServerStreamRequest};

use crate::{Call, Client};

/// The generated client; calls are streams of one HTTP/2 connection, made when the first is sent.
pub type Echo = EchoClient<tonic::transport::Channel>;

/// A client that sends to `port` of 127.0.0.1 with `authority`.
pub fn echo(port: u16, authority: &str) -> Echo {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    EchoClient::new(
        endpoint
            .origin(format!("http://{authority}").parse().unwrap())
            .connect_lazy(),
    )
}

/// A message for `unary` and `bidirectional`.
pub fn say(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.to_owned(),
        delay_ms: 0,
    }
}

/// A request for `server_stream`.
pub fn say_often(message: &str, count: u64, period: Duration) -> ServerStreamRequest {
    let period_ms = u64::try_from(period.as_millis()).unwrap();
    ServerStreamRequest {
        message: message.to_owned(),
        count,
        period_ms,
    }
}

/// A unary call as plain HTTP/2, which shows what tonic hides: headers of a trailers-only answer, and that it is not
/// the client itself that cuts the call at its `grpc-timeout`. `client` must be an HTTP/2 one.
pub fn raw_unary(client: &Client, message: &str) -> Call {
    let length = u8::try_from(message.len()).expect("a short message");
    // EchoRequest { message }, in a frame that is not compressed.
    let frame = [&[0, 0, 0, 0, length + 2, 0x0a, length], message.as_bytes()].concat();
    let call = client.post("/holdfast.echo.v1.Echo/Unary", frame);
    call.header("content-type", "application/grpc")
        .header("te", "trailers")
}
