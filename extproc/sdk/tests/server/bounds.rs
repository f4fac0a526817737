//! Bounds of a server: what is over them ends with an error status, never cleanly.

use extproc::testing::{Modal, request_body, request_headers, with_modes};
use extproc::{BodyMode, End, Modes, Server};
use tonic::Code;

use crate::support::{Running, Seen, Waits, call, h2, in_time, open};

fn headers(path: &str, request: BodyMode) -> extproc::wire::ProcessingRequest {
    let modes = Modes {
        request,
        response: BodyMode::None,
    };
    with_modes(request_headers([(":method", "POST"), (":path", path)]), modes)
}

#[tokio::test]
async fn a_message_above_the_limit_ends_with_an_error() {
    let seen = Seen::default();
    let server = Running::new(Server::new(Waits(seen.clone())).max_message(64 << 10)).await;
    let (sender, answers) = open(server.channel().await);
    sender.send(headers("/", BodyMode::Buffered)).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    in_time(answers.message()).await.unwrap().unwrap();
    sender.send(request_body(vec![b'x'; 65 << 10], true)).unwrap();
    let status = in_time(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(seen.ended(1).await, [End::Failed]);
}

#[tokio::test]
async fn what_is_no_message_ends_with_an_error() {
    let server = Running::new(Server::new(Waits(Seen::default()))).await;
    let mut sender = h2(server.address).await;
    for garbage in [
        &b"\0\0\0\0\x04\xff\xff\xff\xff"[..],
        b"\x07\0\0\0\0",
        b"\0\xff\xff\xff\xffx",
    ] {
        let (response, mut body) = call(&mut sender);
        body.send_data(garbage.to_vec().into(), false).unwrap();
        let response = in_time(response).await.unwrap();
        let status = response
            .headers()
            .get("grpc-status")
            .map(|status| status.as_bytes().to_vec());
        assert!(
            status.as_ref().is_some_and(|status| status != b"0"),
            "{garbage:?}: {response:?}"
        );
    }
}

#[tokio::test]
async fn calls_above_the_limit_are_refused_and_places_come_back() {
    let seen = Seen::default();
    let server = Running::new(Server::new(Waits(seen.clone())).max_streams(2)).await;
    let channel = server.channel().await;
    let mut open_calls = Vec::new();
    for _ in 0..2 {
        let (sender, answers) = open(channel.clone());
        sender.send(headers("/", BodyMode::None)).unwrap();
        open_calls.push((sender, in_time(answers).await.unwrap()));
    }
    let (_sender, refused) = open(channel.clone());
    assert_eq!(
        in_time(refused).await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    open_calls.pop();
    seen.ended(1).await;
    let (sender, answers) = open(channel);
    sender.send(headers("/", BodyMode::None).ends()).unwrap();
    let mut answers = in_time(answers).await.unwrap().into_inner();
    assert!(in_time(answers.message()).await.unwrap().is_some());
}
