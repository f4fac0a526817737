//! Envoy resets almost every call at its end: that is no failure, in whatever state the call is.

use extproc::testing::{request_body, request_headers, with_modes};
use extproc::wire::ProcessingRequest;
use extproc::{BodyMode, End, Modes, Server};
use h2::Reason;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::support::{Running, Seen, Waits, call, framed, h2, in_time};

fn headers(path: &str) -> ProcessingRequest {
    let modes = Modes {
        request: BodyMode::FullDuplex,
        response: BodyMode::None,
    };
    with_modes(request_headers([(":method", "POST"), (":path", path)]), modes)
}

/// What Envoy has said when it resets a call.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Headers, which were answered.
    AtRest,
    /// Headers, whose handler runs.
    InHeaders,
    /// A chunk of a body, whose handler waits for more.
    InBody,
}

/// Resets a call in this state: how the exchange ended, and the metrics.
async fn reset_in(state: State, reason: Reason) -> (End, String) {
    let seen = Seen::default();
    let mut registry = Registry::default();
    let server = Running::new(Server::new(Waits(seen.clone())).registry(&mut registry)).await;
    let mut sender = h2(server.address).await;
    let (response, mut body) = call(&mut sender);
    let first = match state {
        State::AtRest => with_modes(request_headers([(":path", "/")]), Modes::default()),
        State::InHeaders => headers("/wait"),
        State::InBody => headers("/"),
    };
    body.send_data(framed(&first), false).unwrap();
    in_time(seen.began.notified()).await;
    let mut answers = None;
    if !matches!(state, State::InHeaders) {
        let mut response = in_time(response).await.unwrap();
        assert!(in_time(response.body_mut().data()).await.is_some());
        answers = Some(response);
    }
    if matches!(state, State::InBody) {
        body.send_data(framed(&request_body("abc", false)), false)
            .unwrap();
        in_time(seen.began.notified()).await;
    }
    body.send_reset(reason);
    let ends = seen.ended(1).await;
    drop(answers);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    (ends[0], text)
}

#[tokio::test]
async fn a_reset_is_no_failure_in_any_state() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        for (state, expected) in [
            (State::AtRest, End::Completed),
            (State::InHeaders, End::Cancelled),
            (State::InBody, End::Cancelled),
        ] {
            let (end, metrics) = reset_in(state, reason).await;
            assert_eq!(end, expected, "{state:?} {reason:?}");
            assert!(!metrics.contains("extproc_failures_total{"), "{metrics}");
        }
    }
}

#[tokio::test]
async fn thousands_of_answered_calls_may_be_reset_on_one_connection() {
    let seen = Seen::default();
    let server = Running::new(Server::new(Waits(seen.clone()))).await;
    let mut sender = h2(server.address).await;
    let message = framed(&with_modes(request_headers([(":path", "/")]), Modes::default()));
    for _ in 0..10_000 {
        sender = in_time(sender.ready()).await.unwrap();
        let (response, mut body) = call(&mut sender);
        body.send_data(message.clone(), false).unwrap();
        let mut response = in_time(response).await.unwrap();
        assert!(in_time(response.body_mut().data()).await.is_some());
        body.send_reset(Reason::INTERNAL_ERROR);
    }
    let ends = seen.ended(10_000).await;
    assert!(ends.iter().all(|end| *end == End::Completed));
}
