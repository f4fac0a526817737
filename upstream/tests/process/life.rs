//! The program from its start to its end: when it listens, how it ends, what it writes down.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::body::Body;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use upstream::{Event, echo::EchoRequest};

use crate::harness::{Process, command, eventually, http1, mk_file, output, text};

#[tokio::test]
async fn says_ready_long_before_it_listens() {
    let http = mk_free_address();
    let mut process = Process::spawn(&[
        "--start-delay",
        "1h",
        "--ready-listen",
        "127.0.0.1:0",
        "--http",
        &http.to_string(),
    ]);
    let ready = process.noted(said_ready).await;
    assert_eq!(status_of(ready).await, StatusCode::OK, "must say ready at once");
    assert!(
        TcpStream::connect(http).await.is_err(),
        "must not listen before the delay is over"
    );
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ended().await, Some(0), "SIGTERM must end the wait");
}

#[tokio::test]
async fn listens_when_the_delay_is_over() {
    let process = Process::start(&["--start-delay", "200ms"]).await;
    let records = process.records();
    let waited = Duration::from_micros(records.last().unwrap().t_us - records[0].t_us);
    assert!(
        waited >= Duration::from_millis(200),
        "must not listen before the delay is over, did after {waited:?}"
    );
    assert_eq!(process.get("/hello").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn crashes_as_told() {
    let output =
        output(command().args(["--crash", "--crash-code", "7", "--crash-message", "no database"])).await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "no database\n",
        "must say why, and only that"
    );
}

#[tokio::test]
async fn crashes_only_while_the_file_exists() {
    let (_folder, file) = mk_file();
    let args = ["--crash-while-exists", file.to_str().unwrap()];
    let mut process = Process::spawn(&args);
    assert_eq!(process.ended().await, Some(3));
    let events: Vec<_> = process.records().into_iter().map(|record| record.event).collect();
    let expected = [
        Event::Start {
            name: "upstream".into(),
        },
        Event::Exit { code: 3, cut: 0 },
    ];
    assert_eq!(events, expected, "the journal must show the crash");
    fs::remove_file(&file).unwrap();
    assert_eq!(
        Process::start(&args).await.get("/hello").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn does_not_serve_while_the_file_exists() {
    let (_folder, file) = mk_file();
    let process = Process::start(&["--not-serving-while-exists", file.to_str().unwrap()]).await;
    let mut health = HealthClient::new(process.channel().await);
    for service in ["", "holdfast.echo.v1.Echo"] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    }
    fs::remove_file(&file).unwrap();
    let service = String::new();
    let mut changes = health
        .watch(HealthCheckRequest { service })
        .await
        .unwrap()
        .into_inner();
    while changes.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
}

#[tokio::test]
async fn takes_options_from_the_environment() {
    let output = output(
        command()
            .env("UPSTREAM_CRASH", "true")
            .env("UPSTREAM_CRASH_CODE", "9"),
    )
    .await;
    assert_eq!(output.status.code(), Some(9));
}

#[tokio::test]
async fn names_the_option_of_a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = output(command().args(["--http", "127.0.0.1:0", "--grpc", &address])).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(&format!("cannot listen on {address} (--grpc)")),
        "must name the option: {said}"
    );
}

#[tokio::test]
async fn refuses_a_duration_without_unit() {
    let output = output(command().args(["--drain", "5"])).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("--drain") && said.contains("is not a duration"),
        "must say what is wrong: {said}"
    );
}

#[tokio::test]
async fn serves_on_while_draining_and_marks_what_comes() {
    let mut process = Process::start(&["--drain", "1h", "--ready-listen", "127.0.0.1:0"]).await;
    let mut health = HealthClient::new(process.channel().await);
    process.get("/hello?id=before").await;
    process.terminate().await;
    assert_eq!(
        process.get("/hello?id=after").await.status(),
        StatusCode::OK,
        "must serve during the drain time"
    );
    let late: Vec<_> = process
        .requests()
        .into_iter()
        .map(|request| (request.id.unwrap(), request.after_sigterm))
        .collect();
    assert_eq!(late, [("before".to_owned(), false), ("after".to_owned(), true)]);

    let answer = health
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap();
    assert_eq!(
        answer.into_inner().status(),
        ServingStatus::NotServing,
        "must not claim to be healthy"
    );
    let ready = process.noted(said_ready).await;
    assert_eq!(
        status_of(ready).await,
        StatusCode::SERVICE_UNAVAILABLE,
        "must not claim to be ready"
    );

    process.signal(Signal::SIGTERM);
    assert_eq!(
        process.ended().await,
        Some(0),
        "a second SIGTERM must skip the rest of the drain time"
    );
}

#[tokio::test]
async fn finishes_what_is_under_way() {
    let mut process = Process::start(&[]).await;
    let (answer, ()) = tokio::join!(process.get("/slow?delay=500ms"), async {
        process.seen("/slow").await;
        process.terminate().await;
    });
    assert_eq!(
        answer.status(),
        StatusCode::OK,
        "a request under way must be answered"
    );
    assert_eq!(text(answer).await, "slow but here\n");
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(last_event(&process), Event::Exit { code: 0, cut: 0 });
}

#[tokio::test]
async fn ends_endless_streams_in_their_own_words() {
    let mut process = Process::start(&["--grace", "1h"]).await;
    let (http, _) = process.ports().await;
    let events = process.get("/events").await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{http}/ws"))
        .await
        .unwrap();
    let requests = stream::once(async { EchoRequest::default() }).chain(stream::pending());
    let mut answers = process
        .echo()
        .await
        .bidirectional(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(
        answers.message().await.unwrap().is_some(),
        "the stream must be open"
    );

    process.terminate().await;
    assert!(
        text(events).await.starts_with("id: 0\n"),
        "server-sent events must end whole"
    );
    let Message::Close(Some(goodbye)) = socket.next().await.unwrap().unwrap() else {
        panic!("a WebSocket must be told goodbye");
    };
    assert_eq!(goodbye.code, CloseCode::Away);
    assert!(
        socket.next().await.is_none(),
        "the WebSocket must end after the goodbye"
    );
    assert_eq!(
        answers.message().await.unwrap_err().code(),
        Code::Unavailable,
        "gRPC must not end as if all were well"
    );
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(last_event(&process), Event::Exit { code: 0, cut: 0 });
}

#[tokio::test]
async fn waits_for_a_websocket_to_part() {
    let mut process = Process::start(&["--grace", "1h"]).await;
    let (http, _) = process.ports().await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{http}/ws"))
        .await
        .unwrap();
    process.terminate().await;
    // Nothing else is open, so once the port is closed only the socket keeps the process.
    eventually(|| std::net::TcpStream::connect(http).is_err().then_some(())).await;
    while socket.next().await.is_some() {}
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(
        last_event(&process),
        Event::Exit { code: 0, cut: 0 },
        "must wait for the client's goodbye"
    );
}

#[tokio::test]
async fn cuts_what_outlasts_the_grace_time() {
    let mut process = Process::start(&["--grace", "50ms"]).await;
    let (http, _) = process.ports().await;
    let request = Request::get(format!("http://{http}/slow?delay=1h"))
        .body(Body::empty())
        .unwrap();
    let answer = tokio::spawn(http1().request(request));
    process.seen("/slow").await;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ended().await, Some(0));
    assert!(answer.await.unwrap().is_err(), "the request must have been cut");
    assert_eq!(
        last_event(&process),
        Event::Exit { code: 0, cut: 1 },
        "what was cut must be counted"
    );
}

#[tokio::test]
async fn keeps_every_record_when_killed() {
    let mut process = Process::start(&[]).await;
    process.get("/hello?id=last").await;
    process.signal(Signal::SIGKILL);
    assert_eq!(process.ended().await, None);
    assert_eq!(
        process.requests()[0].id.as_deref(),
        Some("last"),
        "a record must survive SIGKILL"
    );
}

#[tokio::test]
async fn raises_its_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The child inherits the soft limit of the tests, which need no more than this.
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
    let process = Process::start(&[]).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let soft = line.split_whitespace().nth(3).unwrap();
    assert_eq!(
        soft,
        hard.to_string(),
        "a proxy must be able to open as many connections as the system allows"
    );
}

fn said_ready(event: &Event) -> Option<SocketAddr> {
    match event {
        Event::SaidReady { address } => Some(*address),
        _ => None,
    }
}

fn last_event(process: &Process) -> Event {
    process.records().pop().unwrap().event
}

async fn status_of(ready: SocketAddr) -> StatusCode {
    let request = Request::get(format!("http://{ready}/ready"))
        .body(Body::empty())
        .unwrap();
    http1().request(request).await.unwrap().status()
}

/// An address where no server listens now.
fn mk_free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
