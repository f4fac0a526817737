//! The routers of both ports, without a socket: what each endpoint answers, what is recorded, and what the bound refuses.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tower::ServiceExt;
use upstream::{App, Counts, Event, Journal, Kind, Record};

#[tokio::test]
async fn says_hello_with_its_name() {
    let backend = Backend::new(None);
    for path in ["/", "/hello"] {
        let response = backend.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path} must answer");
        assert!(
            response.headers().contains_key("x-upstream-pid"),
            "an answer must say which process gave it"
        );
        assert_eq!(text(response).await, "hello from test\n");
    }
}

#[tokio::test]
async fn echoes_length_and_sha256() {
    let answer = Backend::new(None).post("/echo", Body::from("hold fast")).await;
    let answer: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(answer["length"], 9);
    assert_eq!(answer["sha256"], hexadecimal(b"hold fast"));
    assert_eq!(answer["method"], "POST");
}

#[tokio::test]
async fn keeps_no_more_than_one_frame_of_a_body() {
    let (body, most_alive) = mk_watched_body(800);
    let answer = Backend::new(None).post("/echo", body).await;
    let answer: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(answer["length"], 800 * FRAME, "the whole body must be read");
    let most_alive = most_alive.load(Ordering::SeqCst);
    assert!(
        most_alive <= 2,
        "at most the frame being read may be kept, {most_alive} were"
    );
}

#[tokio::test(start_paused = true)]
async fn reads_no_faster_than_asked() {
    let start = Instant::now();
    let answer = Backend::new(None)
        .post("/echo?rate=1000", Body::from(vec![0; 5_000]))
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(5),
        "5,000 bytes at 1,000 a second take 5 s: {took:?}"
    );
}

#[tokio::test]
async fn mirrors_a_body_before_it_has_ended() {
    let first = stream::once(async { Ok::<_, axum::Error>(Bytes::from_static(b"first")) });
    let body = Body::from_stream(first.chain(stream::pending()));
    let mut answer = Backend::new(None).post("/echo/body", body).await.into_body();
    let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, "first", "what has come must go back at once");
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_asked() {
    let start = Instant::now();
    let answer = Backend::new(None).get("/slow?delay=90s").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let waited = start.elapsed();
    assert!(
        (90_000..90_100).contains(&waited.as_millis()),
        "must wait 90 s, waited {waited:?}"
    );
}

#[tokio::test]
async fn refuses_a_delay_that_is_none() {
    for query in ["delay=fast", "delay=2h", "deley=2s"] {
        let answer = Backend::new(None).get(&format!("/slow?{query}")).await;
        assert_eq!(
            answer.status(),
            StatusCode::BAD_REQUEST,
            "`{query}` must be refused"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn sends_as_many_events_as_asked() {
    let answer = Backend::new(None).get("/events?count=3&period=10s").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let data: Vec<_> = text(answer)
        .await
        .lines()
        .filter(|line| line.starts_with("data"))
        .map(str::to_owned)
        .collect();
    assert_eq!(data, ["data: event 0", "data: event 1", "data: event 2"]);
}

#[tokio::test]
async fn answers_with_the_status_asked_for() {
    for (code, expected) in [
        ("200", 200),
        ("404", 404),
        ("503", 503),
        ("599", 599),
        ("101", 400),
        ("600", 400),
        ("x", 400),
    ] {
        let answer = Backend::new(None).get(&format!("/status/{code}")).await;
        assert_eq!(
            answer.status().as_u16(),
            expected,
            "/status/{code} must answer {expected}"
        );
    }
}

#[tokio::test]
async fn records_what_was_not_found() {
    let backend = Backend::new(None);
    assert_eq!(backend.get("/nowhere").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        backend.requests()[0].path,
        "/nowhere",
        "every request must be recorded"
    );
}

#[tokio::test]
async fn takes_the_id_from_the_query_before_the_header() {
    let backend = Backend::new(None);
    for (uri, expected) in [("/hello?id=mine", Some("mine")), ("/hello", Some("envoys"))] {
        let request = Request::get(uri)
            .header("x-request-id", "envoys")
            .body(Body::empty())
            .unwrap();
        backend.send(request).await;
        assert_eq!(
            backend.requests().last().unwrap().id.as_deref(),
            expected,
            "id of {uri}"
        );
    }
    backend.get("/hello").await;
    assert_eq!(
        backend.requests().last().unwrap().id,
        None,
        "no id must be made up"
    );
}

#[tokio::test]
async fn survives_any_header_bytes() {
    let backend = Backend::new(None);
    let bytes: Vec<u8> = (0x80..=0xff).collect();
    let request = Request::get("/echo")
        .header("user-agent", &bytes[..])
        .header("x-request-id", &bytes[..]);
    assert_eq!(
        backend.send(request.body(Body::empty()).unwrap()).await.status(),
        StatusCode::OK
    );
    assert!(
        backend.requests()[0].agent.is_some(),
        "what is not UTF-8 must be recorded all the same"
    );
}

#[tokio::test]
async fn counts_what_it_served() {
    let backend = Backend::new(None);
    backend.get("/hello").await;
    backend.get("/status/500").await;
    backend.get("/count").await;
    let counts: Counts = serde_json::from_str(&text(backend.get("/count").await).await).unwrap();
    assert_eq!(
        counts,
        Counts {
            served: 2,
            http: 2,
            ..Counts::default()
        },
        "looking must not count"
    );
}

#[tokio::test]
async fn shows_its_journal_in_order() {
    let backend = Backend::new(None);
    for id in ["a", "b", "c"] {
        backend.get(&format!("/hello?id={id}")).await;
    }
    let lines = text(backend.get("/journal").await).await;
    let records: Vec<Record> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = requests_of(&records)
        .into_iter()
        .filter_map(|request| request.id)
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn limits_concurrency_until_the_answer_has_ended() {
    let backend = Backend::new(NonZeroU32::new(1));
    let endless = backend.get("/events").await;
    let refused = backend.get("/hello").await;
    assert_eq!(
        refused.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "must refuse when full"
    );
    assert!(
        refused.headers().contains_key("retry-after"),
        "must say when to come back"
    );
    assert_eq!(
        backend.get("/count").await.status(),
        StatusCode::OK,
        "looking must be possible when full"
    );
    assert!(
        backend.requests()[1].refused,
        "a refused request must be recorded as such"
    );
    drop(endless);
    assert_eq!(
        backend.get("/hello").await.status(),
        StatusCode::OK,
        "a place must be free when its client has left"
    );
}

#[tokio::test(start_paused = true)]
async fn frees_the_place_of_a_client_that_leaves_before_the_answer() {
    let backend = Backend::new(NonZeroU32::new(1));
    let left = tokio::time::timeout(Duration::from_secs(1), backend.get("/slow?delay=1h")).await;
    assert!(left.is_err(), "the request must still have been waiting");
    assert_eq!(backend.get("/hello").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn refuses_grpc_in_its_own_words() {
    let backend = Backend::new(NonZeroU32::new(1));
    let _endless = backend.get("/events").await;
    let grpc = upstream::grpc_router(backend.app.clone()).await.unwrap();
    let request = Request::post("/holdfast.echo.v1.Echo/Unary").header("content-type", "application/grpc");
    let answer = grpc.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::OK,
        "gRPC failures travel in the trailers"
    );
    assert_eq!(answer.headers()["grpc-status"], "14", "must be UNAVAILABLE");
    assert_eq!(
        backend.requests()[1].kind,
        Kind::Grpc,
        "both ports must share bound and journal"
    );
}

const FRAME: usize = 64 * 1024;

struct Backend {
    app: App,
    journal: Arc<Journal>,
    router: Router,
}

impl Backend {
    fn new(max_concurrency: Option<NonZeroU32>) -> Self {
        let journal = Arc::new(Journal::open(None).unwrap());
        let app = App::new("test", Arc::clone(&journal), max_concurrency);
        Self {
            router: upstream::http_router(app.clone()),
            app,
            journal,
        }
    }

    async fn get(&self, uri: &str) -> Response<Body> {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, uri: &str, body: Body) -> Response<Body> {
        self.send(Request::post(uri).body(body).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    fn requests(&self) -> Vec<upstream::Request> {
        requests_of(&self.journal.recent())
    }
}

fn requests_of(records: &[Record]) -> Vec<upstream::Request> {
    records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Request(request) => Some(request.clone()),
            _ => None,
        })
        .collect()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A body of `frames` frames, and the largest number of them that were alive at a time.
fn mk_watched_body(frames: usize) -> (Body, Arc<AtomicUsize>) {
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = Arc::clone(&most);
    let frames = stream::iter(0..frames).map(move |_| {
        let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
        watch.fetch_max(now, Ordering::SeqCst);
        Ok::<_, axum::Error>(Bytes::from_owner(Frame {
            bytes: vec![7; FRAME],
            alive: Arc::clone(&alive),
        }))
    });
    (Body::from_stream(frames), most)
}

struct Frame {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}
