//! The HTTP port: small endpoints, each of which does one thing that a proxy must carry unharmed.
//!
//! Bodies stream: no endpoint here keeps more of one than the frame it is looking at. Those that do are in [`json`](crate::json).

use std::{convert::Infallible, fmt::Write, num::NonZeroU32, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{self, Sse},
    },
    routing::{any, get},
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time;

use crate::{admit, app::App, duration::HumanDuration, json, record::Counts, websocket};

/// Every endpoint, with the journal in front.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", any(hello))
        .route("/hello", any(hello))
        .route("/echo", any(digest))
        .route("/echo/body", any(mirror))
        .route("/json", any(json::echo))
        .route("/json/{*rest}", any(json::echo))
        .route("/redirect", any(json::redirect))
        .route("/slow", any(slow))
        .route("/events", get(events))
        .route("/ws", any(websocket::echo))
        .route("/status/{code}", any(status))
        .route("/count", get(count))
        .route("/journal", get(journal))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(app.clone(), admit::admit))
        .with_state(app)
}

async fn hello(State(app): State<App>) -> String {
    format!("hello from {}\n", app.name)
}

#[derive(Deserialize)]
struct Reading {
    /// Bytes a second, and no more of them.
    rate: Option<NonZeroU32>,
}

/// Reads the whole body and says what it was.
async fn digest(
    Query(Reading { rate }): Query<Reading>,
    request: Request,
) -> Result<Json<serde_json::Value>, (StatusCode, String)> {
    let start = time::Instant::now();
    let (head, body) = request.into_parts();
    let mut frames = body.into_data_stream();
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    while let Some(frame) = frames.next().await {
        let frame: Bytes =
            frame.map_err(|failure| (StatusCode::BAD_REQUEST, format!("body ended early: {failure}\n")))?;
        length += frame.len() as u64;
        hash.update(&frame);
        if let Some(rate) = rate {
            time::sleep_until(start + Duration::from_millis(length * 1000 / u64::from(rate.get()))).await;
        }
    }
    Ok(Json(json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "length": length,
        "sha256": hexadecimal(&hash.finalize()),
        "headers": spoken(&head.headers),
    })))
}

/// Sends the body back as it comes, at the pace at which the client reads.
async fn mirror(request: Request) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = Body::from_stream(request.into_body().into_data_stream()).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    delay: Option<HumanDuration>,
    /// For the journal only.
    #[serde(rename = "id")]
    _id: Option<String>,
}

async fn slow(Query(query): Query<Slow>) -> &'static str {
    time::sleep(
        query
            .delay
            .map_or(Duration::from_secs(1), HumanDuration::duration),
    )
    .await;
    "slow but here\n"
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    /// Absent: until the client leaves or the backend closes.
    count: Option<u64>,
    period: Option<HumanDuration>,
    /// For the journal only.
    #[serde(rename = "id")]
    _id: Option<String>,
}

async fn events(
    State(app): State<App>,
    Query(query): Query<Events>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let count = query.count.unwrap_or(u64::MAX);
    let cut = app.cut(query.count.is_none());
    let period = query
        .period
        .map_or(Duration::from_millis(100), HumanDuration::duration);
    let events = stream::unfold(0_u64, move |number| async move {
        if number == count {
            return None;
        }
        if number > 0 {
            time::sleep(period).await;
        }
        let event = sse::Event::default()
            .id(number.to_string())
            .data(format!("event {number}"));
        Some((Ok(event), number + 1))
    });
    Sse::new(events.take_until(cut))
}

async fn status(Path(code): Path<u16>) -> Response {
    // 1xx are not answers, and beyond 599 there is no class.
    match StatusCode::from_u16(code) {
        Ok(status) if (200..600).contains(&code) => (status, format!("status {code}\n")).into_response(),
        Ok(_) | Err(_) => (StatusCode::BAD_REQUEST, "a status from 200 to 599, please\n").into_response(),
    }
}

async fn count(State(app): State<App>) -> Json<Counts> {
    Json(app.counts())
}

async fn journal(State(app): State<App>) -> Response {
    let mut lines = Vec::new();
    for record in app.journal.recent() {
        match serde_json::to_vec(&record) {
            Ok(line) => lines.extend(line),
            Err(failure) => return (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()).into_response(),
        }
        lines.push(b'\n');
    }
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

async fn unknown(State(app): State<App>, request: Request) -> Response {
    if app.is_json_everywhere {
        return json::echo(State(app), request).await.into_response();
    }
    (
        StatusCode::NOT_FOUND,
        format!("nothing at {}\n", request.uri().path()),
    )
        .into_response()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Name and value of each header, in the order received; bytes that are not UTF-8 as U+FFFD.
fn spoken(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}
