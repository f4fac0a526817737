//! A gRPC client of the upstream's echo service.

use std::time::Duration;

use tonic::Request;
use tonic::transport::Endpoint;
use upstream::echo::echo_client::EchoClient;
use upstream::echo::{EchoRequest, ServerStreamRequest};

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

/// Adds `grpc-timeout`, which tells the filter and the upstream and is not enforced by the client itself.
pub fn within<T>(message: T, timeout: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    request
}
