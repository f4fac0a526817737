//! How a server stops: what becomes of exchanges that wait, rest and are in the middle of a body.

use std::net::SocketAddr;
use std::time::Duration;

use extproc::testing::{request_body, request_headers, with_modes};
use extproc::{BodyMode, End, Modes, Server};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::support::{Running, Seen, Waits, call, framed, h2, in_time, open};

fn headers(path: &str) -> extproc::wire::ProcessingRequest {
    let modes = Modes {
        request: BodyMode::FullDuplex,
        response: BodyMode::None,
    };
    with_modes(request_headers([(":method", "POST"), (":path", path)]), modes)
}

#[tokio::test]
async fn no_header_is_answered_before_the_first_message() {
    let seen = Seen::default();
    let server = Running::new(Server::new(Waits(seen.clone()))).await;
    let (sender, answers) = open(server.channel().await);
    sender.send(headers("/wait")).unwrap();
    let mut answers = std::pin::pin!(answers);
    tokio::select! {
        _ = &mut answers => panic!("must not be answered while its handler waits"),
        () = in_time(seen.began.notified()) => {}
    }
    seen.go.notify_one();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    assert!(in_time(answers.message()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_answers_headers_at_once_where_it_is_told_to() {
    let seen = Seen::default();
    let server = Running::new(Server::new(Waits(seen.clone())).eager_headers()).await;
    let (sender, answers) = open(server.channel().await);
    sender.send(headers("/wait")).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    seen.go.notify_one();
    assert!(in_time(answers.message()).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_unanswered_is_handed_over_by_trailers_alone() {
    let seen = Seen::default();
    let server = Server::new(Waits(seen.clone()))
        .hand_over(true)
        .grace(Duration::from_secs(600));
    let mut server = Running::new(server).await;
    let mut sender = h2(server.address).await;
    let (response, mut body) = call(&mut sender);
    body.send_data(framed(&headers("/wait")), false).unwrap();
    in_time(seen.began.notified()).await;
    server.stop();
    let response = in_time(response).await.unwrap();
    // Headers that end the stream: an Envoy with a retry policy takes the call elsewhere.
    assert!(response.body().is_end_stream(), "{response:?}");
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(seen.ended(1).await, [End::HandedOver]);
    drop((sender, body));
    server.stopped().await;
}

#[tokio::test]
async fn what_is_answered_goes_on_to_its_end_within_the_grace() {
    let seen = Seen::default();
    let server = Server::new(Waits(seen.clone()))
        .hand_over(true)
        .grace(Duration::from_secs(600));
    let mut server = Running::new(server).await;
    let (sender, answers) = open(server.channel().await);
    sender.send(headers("/")).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    in_time(answers.message()).await.unwrap().unwrap();
    sender.send(request_body("abc", false)).unwrap();
    server.stop();
    sender.send(request_body("def", true)).unwrap();
    drop(sender);
    let mut rest = 0;
    while in_time(answers.message()).await.unwrap().is_some() {
        rest += 1;
    }
    assert!(rest > 0);
    server.stopped().await;
    assert_eq!(seen.ends(), [End::Completed]);
}

#[tokio::test]
async fn after_the_grace_exchanges_end_with_an_error_and_the_server_does_not_hang() {
    let seen = Seen::default();
    let server = Server::new(Waits(seen.clone())).grace(Duration::from_millis(50));
    let mut server = Running::new(server).await;
    let channel = server.channel().await;
    // One waits unanswered, one is in the middle of its body.
    let (one, unanswered) = open(channel.clone());
    one.send(headers("/wait")).unwrap();
    let unanswered = tokio::spawn(unanswered);
    let (two, answers) = open(channel);
    two.send(headers("/")).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    in_time(answers.message()).await.unwrap().unwrap();
    two.send(request_body("abc", false)).unwrap();
    in_time(seen.began.notified()).await;
    server.stop();
    // A clean end would let Envoy go on without the rest.
    assert_eq!(
        in_time(answers.message()).await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        in_time(unanswered).await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    server.stopped().await;
    assert_eq!(seen.ends(), [End::Stopped, End::Stopped]);
}

#[tokio::test]
async fn no_connection_is_taken_after_the_stop() {
    let mut server = Running::new(Server::new(Waits(Seen::default()))).await;
    let address = server.address;
    server.channel().await;
    server.stop();
    server.stopped().await;
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_server_listens_on_several_sockets_and_removes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("extproc.sock");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = Server::new(Waits(Seen::default()))
        .listen(loopback)
        .listen(loopback)
        .listen(extproc::uds(&path))
        .shutdown(async move {
            stopped.await.ok();
        })
        .bind()
        .await
        .unwrap();
    let addresses = bound.addresses();
    assert_eq!(addresses.len(), 2);
    let served = tokio::spawn(bound.serve());
    let mut urls: Vec<String> = addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    urls.push(format!("unix://{}", path.display()));
    for url in urls {
        let channel = in_time(Endpoint::from_shared(url.clone()).unwrap().connect())
            .await
            .unwrap();
        let (sender, answers) = open(channel);
        sender.send(headers("/")).unwrap();
        let mut answers = in_time(answers).await.unwrap().into_inner();
        assert!(in_time(answers.message()).await.unwrap().is_some(), "{url}");
    }
    stop.send(()).unwrap();
    in_time(served).await.unwrap().unwrap();
    assert!(!path.exists());
}
