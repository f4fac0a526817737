//! The program over HTTP/1.1, HTTP/2, gRPC and WebSocket.

use std::fs;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{Request, StatusCode, Version};
use hyper::{client::conn::http2, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use upstream::{
    Kind,
    echo::{EchoRequest, ServerStreamRequest},
};

use crate::harness::{PATIENCE, Process, h2c, http1, text};

#[tokio::test]
async fn speaks_http1_and_h2c_on_one_port() {
    let process = Process::start(&[]).await;
    let (http, _) = process.ports().await;
    for (client, version) in [(http1(), Version::HTTP_11), (h2c(), Version::HTTP_2)] {
        let request = Request::get(format!("http://{http}/hello"))
            .body(Body::empty())
            .unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        assert_eq!(
            answer.headers()["x-upstream-pid"],
            process.pid().to_string().as_str()
        );
    }
}

#[tokio::test]
async fn takes_50_mb_without_keeping_them() {
    const FRAME: &[u8] = &[0xAA; 64 * 1024];
    const FRAMES: usize = 800;
    let process = Process::start(&[]).await;
    let (http, _) = process.ports().await;
    let before = peak_kib(&process);
    for client in [http1(), h2c()] {
        let frames = stream::iter(0..FRAMES).map(|_| Ok::<_, axum::Error>(Bytes::from_static(FRAME)));
        let request = Request::post(format!("http://{http}/echo"))
            .body(Body::from_stream(frames))
            .unwrap();
        let answer: Value =
            serde_json::from_str(&text(client.request(request).await.unwrap()).await).unwrap();
        assert_eq!(
            answer["length"],
            FRAME.len() * FRAMES,
            "the whole upload must arrive"
        );
    }
    let grown = peak_kib(&process) - before;
    assert!(
        grown < 10 * 1024,
        "an upload must not be kept: memory grew by {grown} KiB"
    );
}

#[tokio::test]
async fn echoes_grpc_unary() {
    let process = Process::start(&[]).await;
    let answer = process
        .echo()
        .await
        .unary(mk_request("hold"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.message.as_str(), answer.pid), ("hold", process.pid()));
    let seen = process.seen("/holdfast.echo.v1.Echo/Unary").await;
    assert_eq!(seen.kind, Kind::Grpc, "gRPC must be recorded as such");
}

#[tokio::test]
async fn refuses_a_grpc_delay_beyond_an_hour() {
    let process = Process::start(&[]).await;
    let request = EchoRequest {
        message: String::new(),
        delay_ms: 3_600_001,
    };
    let failure = process.echo().await.unary(request).await.unwrap_err();
    assert_eq!(failure.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn streams_grpc_answers_in_order_and_ends() {
    let process = Process::start(&[]).await;
    let request = ServerStreamRequest {
        message: "fast".into(),
        count: 100,
        period_ms: 0,
    };
    let answers = process
        .echo()
        .await
        .server_stream(request)
        .await
        .unwrap()
        .into_inner();
    let indices: Vec<u64> = answers.map(|answer| answer.unwrap().index).collect().await;
    assert_eq!(indices, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_each_grpc_message_before_the_next() {
    let process = Process::start(&[]).await;
    let (sender, receiver) = mpsc::channel(1);
    let requests = stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let mut answers = process
        .echo()
        .await
        .bidirectional(requests)
        .await
        .unwrap()
        .into_inner();
    for (index, word) in ["hold", "wake", "release"].into_iter().enumerate() {
        sender.send(mk_request(word)).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.message.as_str(), answer.index), (word, index as u64));
    }
    drop(sender);
    assert_eq!(
        answers.message().await.unwrap(),
        None,
        "must end when the client ends its side"
    );
}

#[tokio::test]
async fn says_that_it_is_healthy() {
    let process = Process::start(&[]).await;
    let mut client = HealthClient::new(process.channel().await);
    for service in ["", "holdfast.echo.v1.Echo"] {
        let answer = client
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .unwrap();
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "`{service}` must be healthy"
        );
    }
}

#[tokio::test]
async fn lists_its_services_by_reflection() {
    let process = Process::start(&[]).await;
    let mut client = ServerReflectionClient::new(process.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("must list services, not {answer:?}");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["holdfast.echo.v1.Echo", "grpc.health.v1.Health"] {
        assert!(
            names.iter().any(|listed| listed == name),
            "{name} must be among {names:?}"
        );
    }
}

#[tokio::test]
async fn echoes_websocket_messages() {
    let process = Process::start(&[]).await;
    let (http, _) = process.ports().await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{http}/ws?id=socket"))
        .await
        .unwrap();
    for message in [Message::text("hold"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            message,
            "must come back as it was"
        );
    }
    let seen = process.seen("/ws").await;
    assert_eq!((seen.kind, seen.id.as_deref()), (Kind::Websocket, Some("socket")));
}

#[tokio::test]
async fn echoes_websocket_messages_over_http2() {
    let process = Process::start(&[]).await;
    let (http, _) = process.ports().await;
    let stream = TokioIo::new(TcpStream::connect(http).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    // The first answer comes after the server's settings, which allow extended CONNECT.
    sender
        .send_request(
            Request::get(format!("http://{http}/"))
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .unwrap();
    let request = Request::connect(format!("http://{http}/ws"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    let answer = sender
        .send_request(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let upgraded = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    socket.send(Message::text("hold")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hold"));
    assert_eq!(
        process.seen("/ws").await.kind,
        Kind::Websocket,
        "must be recorded as a WebSocket"
    );
}

#[tokio::test]
async fn counts_an_open_websocket_as_in_flight() {
    let process = Process::start(&["--max-concurrency", "1"]).await;
    let (http, _) = process.ports().await;
    let socket = tokio_tungstenite::connect_async(format!("ws://{http}/ws"))
        .await
        .unwrap()
        .0;
    assert_eq!(
        process.get("/hello").await.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "the socket must hold its place"
    );
    drop(socket);
    // The backend sees a moment later that it is closed.
    let freed = async { while process.get("/hello").await.status() != StatusCode::OK {} };
    timeout(PATIENCE, freed)
        .await
        .expect("a closed socket must free its place");
}

#[tokio::test]
async fn records_both_ports_in_one_order_of_arrival() {
    let process = Process::start(&[]).await;
    let mut echo = process.echo().await;
    process.get("/hello").await;
    echo.unary(mk_request("")).await.unwrap();
    process.get("/echo").await;
    let seen: Vec<_> = process
        .requests()
        .into_iter()
        .map(|request| (request.seq, request.path))
        .collect();
    let paths = ["/hello", "/holdfast.echo.v1.Echo/Unary", "/echo"].map(str::to_owned);
    assert_eq!(seen, (0..).zip(paths).collect::<Vec<_>>());
}

fn mk_request(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.into(),
        delay_ms: 0,
    }
}

/// The most memory that the process ever had, in KiB.
fn peak_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
