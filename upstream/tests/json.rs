//! The JSON echo and the redirect, without a socket: what the example processors are tried with.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use upstream::{App, Journal};

#[tokio::test]
async fn echoes_as_json() {
    let backend = Backend::new();
    let request = Request::put("/json/a?b=c")
        .header("Host", "example.com")
        .header("X-Twice", "one")
        .header("x-twice", "two")
        .body(Body::from("{\"hello\":\"hi\"}"))
        .unwrap();
    let answer = backend.send(request).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer = value(answer).await;
    let expected = json!({
        "method": "put",
        "path": "/json/a?b=c",
        "headers": {"host": "example.com", "x-twice": "one, two"},
        "body": "{\"hello\":\"hi\"}",
        "message": "hello from test",
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn says_the_authority_of_http2_as_host() {
    let answer = value(Backend::new().get("http://example.com:9000/json").await).await;
    assert_eq!(answer["headers"], json!({"host": "example.com:9000"}));
    assert_eq!(
        answer["body"], "",
        "a request without a body must not get that of another"
    );
}

#[tokio::test]
async fn gives_back_no_body_that_is_too_long() {
    let backend = Backend::new();
    for (length, expected) in [
        (16 << 20, StatusCode::OK),
        ((16 << 20) + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let request = Request::post("/json")
            .body(Body::from(vec![b'x'; length]))
            .unwrap();
        assert_eq!(backend.send(request).await.status(), expected, "{length} bytes");
    }
}

#[tokio::test]
async fn redirects_to_where_the_query_says() {
    let backend = Backend::new();
    let answer = backend.get("/redirect?location=https://example.com/x%3Fy").await;
    assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(answer.headers()["location"], "https://example.com/x?y");
    let answer = value(answer).await;
    assert_eq!(answer["path"], "/redirect?location=https://example.com/x%3Fy");
    for query in ["", "?to=x", "?location=%0A"] {
        let refused = backend.get(&format!("/redirect{query}")).await;
        assert_eq!(
            refused.status(),
            StatusCode::BAD_REQUEST,
            "`{query}` must be refused"
        );
    }
}

#[tokio::test]
async fn answers_every_path_as_json_where_told() {
    let backend = Backend(upstream::http_router(mk_app().with_json_everywhere()));
    let answer = backend.get("/something").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = value(answer).await;
    assert_eq!(answer["path"], "/something");
    let hello = backend.get("/hello").await;
    assert_eq!(
        hello.headers()["content-type"],
        "text/plain; charset=utf-8",
        "paths that are known stay"
    );
}

struct Backend(Router);

impl Backend {
    fn new() -> Self {
        Self(upstream::http_router(mk_app()))
    }

    async fn get(&self, uri: &str) -> Response<Body> {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.0.clone().oneshot(request).await.unwrap()
    }
}

fn mk_app() -> App {
    App::new("test", Arc::new(Journal::open(None).unwrap()), None)
}

async fn value(response: Response<Body>) -> Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}
