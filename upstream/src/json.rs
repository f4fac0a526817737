//! The JSON echo and the redirect: what the example processors are tried with, answered as the Python SDK's echo server does.
//!
//! Unlike the other endpoints these keep a body, since they give it back as text: at most [`LONGEST`] bytes of it.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request};
use serde::{Deserialize, Serialize};

use crate::app::App;

/// The longest body that is given back, in bytes; a longer one gets 413.
const LONGEST: usize = 16 << 20;

/// What reached the backend.
#[derive(Serialize)]
struct Seen {
    /// In lower case.
    method: String,
    /// With the query, as it came.
    path: String,
    /// Names in lower case; the values of one name are joined by a comma. `host` is there in HTTP/2 as well.
    headers: BTreeMap<String, String>,
    /// What is not UTF-8 becomes U+FFFD.
    body: String,
    message: String,
}

/// Says what came, as JSON.
pub(crate) async fn echo(State(app): State<App>, request: Request) -> Result<Json<impl Serialize>, Response> {
    let (head, body) = request.into_parts();
    see(&app, &head, body).await
}

#[derive(Deserialize)]
pub(crate) struct To {
    location: String,
}

/// 308 to the query's `location`, with the same JSON.
pub(crate) async fn redirect(
    State(app): State<App>,
    Query(To { location }): Query<To>,
    request: Request,
) -> Result<impl IntoResponse, Response> {
    let location = HeaderValue::try_from(location)
        .map_err(|_| (StatusCode::BAD_REQUEST, "the location is no header value\n").into_response())?;
    let (head, body) = request.into_parts();
    let seen = see(&app, &head, body).await?;
    Ok((
        StatusCode::PERMANENT_REDIRECT,
        [(header::LOCATION, location)],
        seen,
    ))
}

async fn see(app: &App, head: &request::Parts, body: Body) -> Result<Json<Seen>, Response> {
    let body = to_bytes(body, LONGEST).await.map_err(|failure| {
        let text = format!("the body is longer than {LONGEST} bytes or ended early: {failure}\n");
        (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
    })?;
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut headers = joined(&head.headers);
    if let Some(authority) = head.uri.authority() {
        headers
            .entry(header::HOST.to_string())
            .or_insert_with(|| authority.to_string());
    }
    Ok(Json(Seen {
        method: head.method.as_str().to_lowercase(),
        path: path.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        message: format!("hello from {}", app.name),
    }))
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.to_string())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    joined
}
