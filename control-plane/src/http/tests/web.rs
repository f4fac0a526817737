//! Which callers are let in: proxies and people with tokens of their own, no web pages; and every refusal is a problem.

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::*;

#[tokio::test]
async fn proxies_and_people_have_tokens_of_their_own() {
    let of = |texts: &[&str]| texts.iter().map(|text| Token::try_new(text).unwrap()).collect();
    let server = Server::new(Tokens {
        all: of(&["all"]),
        proxies: of(&["old", "new"]),
        operators: of(&["people"]),
    })
    .await;
    let call = async |method: &str, path: &str, token: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        server.call(request.body(Body::from(body)).unwrap()).await
    };
    let report = r#"{"proxy":{"id":"a","incarnation":"1","term":1,"seq":1}}"#;
    let sync = r#"{"proxy":{"id":"b","incarnation":"1","term":1},"wait_ms":0}"#;
    for token in ["old", "new", "all"] {
        let report = call("POST", "/v1/report", token, report).await;
        assert_eq!(report.status(), StatusCode::NO_CONTENT, "{token} must be taken");
        let sync = call("POST", "/v1/sync", token, sync).await;
        assert_eq!(sync.status(), StatusCode::OK, "{token} must be taken");
    }
    let of_people = [
        ("GET", "/v1/targets"),
        ("GET", "/v1/targets/default/web"),
        ("GET", "/v1/proxies"),
        ("GET", "/"),
        ("POST", "/v1/targets/default/web/sleep"),
        ("POST", "/v1/targets/default/web/wake"),
        ("POST", "/poke-scale-up?host=web.example.com"),
        ("POST", "/set-scaled-to-zero?host=web.example.com"),
    ];
    for (method, path) in of_people {
        let response = call(method, path, "new", "").await;
        check_problem(response, 403, "urn:holdfast:forbidden").await;
        let status = call(method, path, "people", "").await.status();
        assert!(
            status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN,
            "{path} must be let through: {status}"
        );
    }
    for path in ["/v1/report", "/v1/sync"] {
        let response = call("POST", path, "people", "").await;
        check_problem(response, 403, "urn:holdfast:forbidden").await;
    }
}

#[tokio::test]
async fn tokens_change_while_it_serves_and_refusals_are_counted_by_what_was_wrong() {
    let server = Server::with_token("old").await;
    let get = async |token: &str| {
        let get = Request::get("/v1/targets").header("authorization", format!("Bearer {token}"));
        let get = get.extension(server::Peer([127, 0, 0, 1].into()));
        server.call(get.body(Body::empty()).unwrap()).await.status()
    };
    assert_eq!(get("old").await, StatusCode::OK);
    let all = |lines: &str| Tokens {
        all: Token::try_lines(lines).unwrap(),
        ..Tokens::default()
    };
    server.app.keys.replace(all("old\nnew"));
    assert_eq!(
        (get("old").await, get("new").await),
        (StatusCode::OK, StatusCode::OK)
    );
    server.app.keys.replace(all("new"));
    let after = (get("old").await, get("new").await);
    assert_eq!(after, (StatusCode::UNAUTHORIZED, StatusCode::OK));
    server.post("/v1/report", "{}").await;
    let metrics = body(server.get("/metrics").await).await;
    for line in [
        r#"holdfast_unauthorized_total{from="loopback",call="operator",why="wrong token"} 1"#,
        r#"holdfast_unauthorized_total{from="unknown",call="proxy",why="no token"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} must be in {metrics}");
    }
}

#[tokio::test]
async fn a_web_page_can_do_nothing() {
    let server = Server::start().await;
    let wake = "/v1/targets/default/web/wake";
    let post = |headers: &[(&str, &str)], body: &'static str| {
        let mut request = Request::post(wake);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.call(request.body(Body::from(body)).unwrap())
    };
    // What a form, and a page that made its name lead here, send.
    for headers in [
        &[("host", "127.0.0.1:7001"), ("origin", "http://evil.example.com")][..],
        &[("host", "127.0.0.1:7001"), ("origin", "null")],
        &[
            ("host", "evil.example.com:7001"),
            ("origin", "http://evil.example.com:7001"),
        ],
        &[("host", "evil.example.com:7001")],
    ] {
        check_problem(post(headers, "").await, 403, "urn:holdfast:forbidden").await;
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let response = post(&[("content-type", content_type)], "a=b").await;
        check_problem(response, 415, "urn:holdfast:not-json").await;
    }
    let get = Request::get("/v1/targets").header("host", "evil.example.com");
    let response = server.call(get.body(Body::empty()).unwrap()).await;
    check_problem(response, 403, "urn:holdfast:forbidden").await;
    assert_eq!(server.state("web").await, "asleep", "nothing must have happened");
    let own = post(
        &[("host", "localhost:7001"), ("origin", "http://localhost:7001")],
        "",
    )
    .await;
    assert_eq!(own.status(), StatusCode::ACCEPTED, "its own origin may");
}

#[tokio::test]
async fn refusals_of_the_framework_are_problems_too() {
    let server = Server::start().await;
    for (method, path) in [
        ("GET", "/v1/targets/%ff/web"),
        ("POST", "/poke-scale-up?host=%ff&host=x"),
    ] {
        let request = Request::builder().method(method).uri(path);
        let response = server.call(request.body(Body::empty()).unwrap()).await;
        let problem = check_problem(response, 400, "about:blank").await;
        assert!(problem.detail.is_some(), "{path}: must say what is wrong");
    }
    let response = server
        .call(Request::put("/v1/sync").body(Body::empty()).unwrap())
        .await;
    check_problem(response, 405, "urn:holdfast:method-not-allowed").await;
    let response = server
        .call(Request::post("/healthz").body(Body::empty()).unwrap())
        .await;
    check_problem(response, 405, "urn:holdfast:method-not-allowed").await;
}

#[tokio::test]
async fn a_proxy_cannot_call_itself_what_would_forge_a_line() {
    let server = Server::start().await;
    for id in [
        "a\nb",
        "a\r\u{1b}[2Kb",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{202e}b",
        "\u{0}",
    ] {
        for (path, field) in [("/v1/sync", "proxy.id"), ("/v1/report", "proxy.id")] {
            let proxy = json!({"id": id, "incarnation": "1", "term": 1, "seq": 1});
            let response = server
                .post(path, &json!({"proxy": proxy, "wait_ms": 0}).to_string())
                .await;
            let problem = check_problem(response, 400, "urn:holdfast:bad-request").await;
            assert_eq!(problem.field.as_deref(), Some(field), "{id:?} must be refused");
        }
    }
}

#[tokio::test]
async fn probes_have_a_place_of_their_own_where_they_are_given_one() {
    let mut server = Server::with_token("secret").await;
    server.app.probes_apart = true;
    let apart = probes(server.app.clone());
    for path in ["/healthz", "/readyz", "/metrics"] {
        check_problem(server.get(path).await, 404, "urn:holdfast:no-route").await;
        let get = Request::get(path).body(Body::empty()).unwrap();
        let answer = apart.clone().oneshot(get).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path} must be answered");
    }
    let get = Request::get("/v1/targets").body(Body::empty()).unwrap();
    let answer = apart.oneshot(get).await.unwrap();
    check_problem(answer, 404, "urn:holdfast:no-route").await;
}
