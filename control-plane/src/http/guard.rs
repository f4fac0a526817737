//! What a web page must not be able to do with a visitor's browser: POST what is no JSON (which a page may send
//! anywhere), call from another origin, or call under a name of its own that it made lead here (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;

use super::App;
use super::problem::{Error, Kind};
use super::refusals::From;
use super::server::Peer;

/// Lets a call through, or answers 403 or 415.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match judge(&request, app.asks_who()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let from = From::new(request.extensions().get().map(|Peer(address)| *address));
            app.refusals.call(from, "browser", error.title());
            error.into_response()
        }
    }
}

/// `asks_who`: callers must show a token or a certificate, which no page has.
fn judge(request: &Request, asks_who: bool) -> Result<(), Error> {
    let host = host(request.uri(), request.headers());
    if !asks_who
        && let Some(host) = &host
        && !is_here(host)
    {
        let detail = "without a token it is called by an address, by localhost, or by a name without a dot";
        return Err(Error::new(Kind::Forbidden, detail).in_field("host"));
    }
    if request.method() == Method::POST {
        if let Some(origin) = request.headers().get(ORIGIN)
            && !is_same(origin.as_bytes(), host.as_deref())
        {
            let detail = "a page of another origin may not call it";
            return Err(Error::new(Kind::Forbidden, detail).in_field("origin"));
        }
        let is_json = match request.headers().get(CONTENT_TYPE) {
            Some(given) => is_json(given.as_bytes()),
            // Nothing to be read: `curl -X POST` of a route that takes no body.
            None => request.body().is_end_stream(),
        };
        if !is_json {
            return Err(Error::new(Kind::NotJson, "send it as application/json").in_field("content-type"));
        }
    }
    Ok(())
}

/// `:authority` of HTTP/2, `Host` of HTTP/1. Absent: no browser. What cannot be read is not here.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = uri.authority().map(|authority| authority.as_str().to_owned());
    named.or_else(|| {
        headers
            .get(HOST)
            .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
    })
}

/// True for names that no foreign DNS can make lead here: addresses, `localhost`, names without a dot (of search domains
/// and Envoy's clusters).
fn is_here(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_ok()
        || name.ends_with(".localhost")
        || !name.is_empty() && !name.contains('.')
}

/// True if `origin` (`http://host:port`) is of `host`.
fn is_same(origin: &[u8], host: Option<&str>) -> bool {
    let origin = std::str::from_utf8(origin).ok().and_then(|origin| {
        let (_, authority) = origin.split_once("://")?;
        Some(authority)
    });
    match (origin, host) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let media = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    media.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_names_that_no_other_can_give_lead_here() {
        for host in [
            "localhost",
            "LOCALHOST:7001",
            "a.localhost:7001",
            "127.0.0.1:7001",
            "[::1]:7001",
            "10.0.0.1",
            "holdfast",
            "localhost.",
        ] {
            assert!(is_here(host), "{host} must be taken");
        }
        for host in [
            "evil.example.com",
            "evil.example.com:7001",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "user@evil.com",
            "127.0.0.1@evil.com:80",
            "",
            "a b",
            "[evil.com]",
            "1.2.3",
        ] {
            assert!(!is_here(host), "{host} must be refused");
        }
    }

    #[test]
    fn pages_of_others_may_not_post() {
        let post = |origin: &str| {
            Request::post("/x")
                .header("host", "127.0.0.1:7001")
                .header("origin", origin)
                .body(Body::empty())
                .unwrap()
        };
        for asks_who in [true, false] {
            assert_eq!(judge(&post("http://127.0.0.1:7001"), asks_who), Ok(()));
            for origin in [
                "http://evil.com",
                "http://127.0.0.1:8080",
                "null",
                "http://127.0.0.1",
            ] {
                let refused = judge(&post(origin), asks_who);
                assert!(refused.is_err(), "{origin} must be refused");
            }
        }
    }

    #[test]
    fn a_post_is_json_or_nothing() {
        let post = |content_type: Option<&str>, body: &'static str| {
            let mut request = Request::post("/x");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            judge(&request.body(Body::from(body)).unwrap(), true).is_ok()
        };
        assert!(post(Some("application/json"), "{}") && post(Some("Application/JSON; charset=utf-8"), "{}"));
        assert!(post(None, ""), "nothing has no type");
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "application/jsonx",
        ] {
            assert!(
                !post(Some(content_type), "{}"),
                "{content_type:?} must be refused"
            );
        }
        assert!(!post(None, "{}"), "no type must be refused");
    }

    #[test]
    fn who_shows_a_token_may_use_any_name() {
        let get = Request::get("/x").header("host", "control-plane.example.com");
        let get = get.body(Body::empty()).unwrap();
        assert_eq!(judge(&get, true), Ok(()));
        assert!(judge(&get, false).is_err(), "without one it must not");
    }
}
