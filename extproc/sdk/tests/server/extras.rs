//! What stands beside the service: health, reflection, metrics, layers.

use std::time::Duration;

use extproc::testing::{Modal, request_body, request_headers, with_modes};
use extproc::wire::SERVICE;
use extproc::{BodyMode, Health, Modes, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{Running, Seen, Waits, in_time, open};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_tells_the_truth() {
    let health = Health::new();
    health.not_serving();
    let seen = Seen::default();
    let server = Server::new(Waits(seen.clone()))
        .health(health.clone())
        .grace(Duration::from_secs(600));
    assert!(!health.is_serving());
    let mut server = Running::new(server).await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watches = Vec::new();
    for name in ["", SERVICE] {
        let status = client.check(of(name)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing);
        watches.push(client.watch(of(name)).await.unwrap().into_inner());
    }
    assert_eq!(
        client.check(of("other")).await.unwrap_err().code(),
        Code::NotFound
    );
    let mut unknown = client.watch(of("other")).await.unwrap().into_inner();
    let status = in_time(unknown.message()).await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::ServiceUnknown);
    health.serving();
    for watch in &mut watches {
        let mut status = in_time(watch.message()).await.unwrap().unwrap().status();
        if status == ServingStatus::NotServing {
            status = in_time(watch.message()).await.unwrap().unwrap().status();
        }
        assert_eq!(status, ServingStatus::Serving);
    }
    assert_eq!(
        client.check(of("")).await.unwrap().into_inner().status(),
        ServingStatus::Serving
    );
    // While an exchange goes on, the stop is told at once; then the watches end, so that they hold up nothing.
    let (sender, answers) = open(server.channel().await);
    sender.send(request_headers([(":path", "/")])).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    in_time(answers.message()).await.unwrap().unwrap();
    server.stop();
    for watch in &mut watches {
        let status = in_time(watch.message()).await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::NotServing);
        assert!(in_time(watch.message()).await.unwrap().is_none());
    }
    health.serving();
    assert!(!health.is_serving());
    drop((sender, answers));
    server.stopped().await;
}

#[tokio::test]
async fn what_has_failed_serves_no_more() {
    let health = Health::new();
    let _server = Running::new(Server::new(Waits(Seen::default())).health(health.clone())).await;
    health.failed();
    health.serving();
    assert!(!health.is_serving());
}

#[tokio::test]
async fn reflection_knows_the_service() {
    let server = Server::new(Waits(Seen::default()))
        .reflection(true)
        .health(Health::new());
    let mut server = Running::new(server).await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = futures_util::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ]);
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let listed = in_time(answers.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}")
    };
    let names: Vec<_> = listed
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(
        names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );
    let found = in_time(answers.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    assert!(
        matches!(found, MessageResponse::FileDescriptorResponse(_)),
        "{found:?}"
    );
    drop((answers, client));
    server.stop();
    server.stopped().await;
}

async fn scrape(address: std::net::SocketAddr, head: &str) -> String {
    let mut stream = in_time(tokio::net::TcpStream::connect(address)).await.unwrap();
    let request = format!("{head} /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn metrics_have_the_names_and_labels_that_are_documented() {
    let seen = Seen::default();
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Running::new(Server::new(Waits(seen.clone())).metrics(loopback)).await;
    let (sender, answers) = open(server.channel().await);
    let modes = Modes {
        request: BodyMode::Buffered,
        response: BodyMode::None,
    };
    sender
        .send(with_modes(request_headers([(":path", "/")]), modes))
        .unwrap();
    sender.send(request_body("abcdef", true)).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    in_time(answers.message()).await.unwrap().unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    let metrics = server.metrics.unwrap();
    let text = scrape(metrics, "GET").await;
    assert!(
        text.contains("extproc_streams{processor=\"Waits\"} 1\n"),
        "{text}"
    );
    drop((sender, answers));
    seen.ended(1).await;
    let text = scrape(metrics, "GET").await;
    for line in [
        "extproc_streams{processor=\"Waits\"} 0",
        "extproc_streams_total{processor=\"Waits\",end=\"completed\"} 1",
        "extproc_messages_total{processor=\"Waits\",phase=\"request_headers\"} 1",
        "extproc_phase_seconds_count{processor=\"Waits\",phase=\"request_body\"} 1",
        "extproc_deadlines_total{processor=\"Waits\",phase=\"request_headers\"} 0",
        "extproc_body_bytes_total{processor=\"Waits\",direction=\"request\"} 6",
        "extproc_body_memory_bytes{processor=\"Waits\"} 0",
        "extproc_duplicate_eos_total{processor=\"Waits\"} 0",
        "extproc_panics_total{processor=\"Waits\"} 0",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    let bucket = "extproc_phase_seconds_bucket{le=\"+Inf\",processor=\"Waits\",phase=\"request_body\"} 1";
    assert!(text.contains(bucket), "{text}");
    assert!(text.ends_with("# EOF\n"));
    assert!(scrape(metrics, "POST").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_layer_stands_around_the_service() {
    let deny = tower::util::MapRequestLayer::new(|mut request: http::Request<tonic::body::Body>| {
        *request.uri_mut() = http::Uri::from_static("/not/known");
        request
    });
    let server = Running::new(Server::new(Waits(Seen::default())).layer(deny)).await;
    let (sender, answers) = open(server.channel().await);
    sender.send(request_headers([(":path", "/")]).ends()).unwrap();
    assert_eq!(in_time(answers).await.unwrap_err().code(), Code::Unimplemented);
}
