//! Against an API server made of a few lines, which does what its [`Scenario`] says. What the real one does is tested
//! end to end.

mod doubt;
mod server;

use std::sync::{Arc, Mutex};

use self::server::{LEASE, Scenario, Server};
use super::*;
use crate::failure::Kind;
use fleet::lifecycle::FailureClass;

#[tokio::test(start_paused = true)]
async fn writes_once_with_the_version_read() {
    let server = Server::new(0, []);
    let done = server.carry_out(up(2)).await;
    assert_eq!(done.outcome, Outcome::Written, "must be written");
    assert_eq!(done.scale.replicas, 2, "must have what was wished");
    assert_eq!(
        done.scale.version.as_str(),
        "101",
        "must give the version written"
    );
    assert_eq!(
        done.scale.selector.as_deref(),
        Some("app=web"),
        "must give the selector"
    );
    assert_eq!(
        server.writes(),
        [("100".to_owned(), 2)],
        "must name the version that was read"
    );
    assert_eq!(
        server.carry_out(Order::Down { from: 2 }).await.scale.replicas,
        0,
        "must go down"
    );
    assert_eq!(server.writes().len(), 2, "must write once each");
}

#[tokio::test(start_paused = true)]
async fn a_write_says_who_and_for_how_long() {
    let server = Server::new(0, []);
    server.carry_out(up(1)).await;
    let uri = server.state.lock().unwrap().last_uri.clone();
    let path = "/apis/apps/v1/namespaces/shop/deployments/web/scale?";
    assert_eq!(
        uri,
        format!("{path}&fieldManager=holdfast&timeout=10000ms"),
        "must say so"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_there_stands() {
    for (there, order, outcome) in [
        (5, up(1), Outcome::Already),
        (0, Order::Down { from: 3 }, Outcome::Already),
        (5, Order::Down { from: 3 }, Outcome::Abandoned),
    ] {
        let server = Server::new(there, []);
        let done = server.carry_out(order).await;
        assert_eq!(
            (done.outcome, done.scale.replicas),
            (outcome, there),
            "must leave {there} at {order}"
        );
        assert!(server.writes().is_empty(), "must not write");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_it_is_read_again() {
    for (order, start, meanwhile, outcome, end, writes) in [
        // Only another field has changed.
        (up(1), 0, 0, Outcome::Written, 1, 2),
        (up(1), 0, 5, Outcome::Already, 5, 1),
        (Order::Down { from: 3 }, 3, 3, Outcome::Written, 0, 2),
        (Order::Down { from: 3 }, 3, 5, Outcome::Abandoned, 5, 1),
        (Order::Down { from: 3 }, 3, 0, Outcome::Already, 0, 1),
    ] {
        let server = Server::new(start, [Scenario::Meanwhile(meanwhile)]);
        let done = server.carry_out(order).await;
        assert_eq!(
            (done.outcome, done.scale.replicas),
            (outcome, end),
            "must end so: {order}, {meanwhile}"
        );
        assert_eq!(
            server.writes().len(),
            writes,
            "must try no more: {order}, {meanwhile}"
        );
        assert_eq!(server.replicas(), end, "must leave so many: {order}, {meanwhile}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_landed_unanswered_is_not_repeated() {
    for (order, start) in [(up(2), 0), (Order::Down { from: 2 }, 2)] {
        let server = Server::new(start, [Scenario::LandsUnanswered]);
        let done = server.carry_out(order).await;
        assert_eq!(done.outcome, Outcome::Written, "must know it for ours");
        assert_eq!(server.writes().len(), 1, "must not write again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_lost_is_repeated_after_a_read() {
    for scenario in [
        Scenario::Lost,
        Scenario::Answer(500),
        Scenario::Answer(503),
        Scenario::Answer(429),
    ] {
        let server = Server::new(0, [scenario]);
        let done = server.carry_out(up(2)).await;
        assert_eq!(
            done.outcome,
            Outcome::Written,
            "must be written in the end: {scenario:?}"
        );
        let log = server.state.lock().unwrap().log.clone();
        assert_eq!(
            log,
            ["GET", "PUT", "GET", "PUT"],
            "must read before it writes again: {scenario:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_is_not_repeated_in_vain() {
    let server = Server::new(0, [Scenario::LandsLate(1)]);
    let done = server.carry_out(up(2)).await;
    assert_eq!(done.scale.replicas, 2, "must end with what was wished");
    assert_eq!(server.landed(), 1, "must not land twice");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_undoes_one_in_doubt_waits_for_it() {
    // Down to zero is sent and forgotten; before it lands, it is to be up again.
    let server = Server::new(3, [Scenario::LandsLate(3)]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_secs(1), down).await.is_err(),
        "must be under way"
    );
    let done = scaler.carry_out(up(1), |_| {}).await;
    assert_eq!(
        done.scale.replicas, 1,
        "must not take the 3 for final that are about to go"
    );
    assert_eq!(server.replicas(), 1, "must be up in the end");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_ends_when_the_write_can_land_no_more() {
    let server = Server::new(3, [Scenario::Lost]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_secs(1), down).await.is_err(),
        "must be under way"
    );
    let begun = Instant::now();
    let done = scaler.carry_out(up(1), |_| {}).await;
    assert_eq!(
        (done.outcome, done.scale.replicas),
        (Outcome::Already, 3),
        "must stand"
    );
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(9),
        "must not be sure before, took {took:?}"
    );
    assert!(
        took < Duration::from_secs(12),
        "must not wait for ever, took {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_tried_again() {
    for (status, times, kind, class) in [
        (403, 8, Kind::Refused, FailureClass::Forbidden),
        (404, 2, Kind::WorkloadNotFound, FailureClass::NotFound),
        (405, 2, Kind::KindNotScalable, FailureClass::NotFound),
        (422, 2, Kind::Refused, FailureClass::ScaleRefused),
        (500, 9, Kind::Refused, FailureClass::Unreachable),
    ] {
        let server = Server::new(0, vec![Scenario::Answer(status); times]);
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let begun = Instant::now();
        let mut scaler = server.scaler();
        scaler
            .carry_out(up(1), |failure| {
                let told = failure.map(|failure| (failure.kind, failure.class));
                ear.lock().unwrap().push(told);
            })
            .await;
        let told = told.lock().unwrap().clone();
        assert_eq!(
            told,
            [Some((kind, class)), None],
            "must tell once that it cannot, and that it can: {status}"
        );
        assert!(
            begun.elapsed() >= Duration::from_secs(8),
            "must try again slowly: {status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_down_that_was_refused_writes_no_more() {
    for (plan, end) in [
        (vec![Scenario::Answer(422)], 3),
        (vec![Scenario::Answer(500); 7], 3),
    ] {
        let server = Server::new(3, plan.clone());
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let mut scaler = server.scaler();
        let tell = move |failure: Option<Failure>| ear.lock().unwrap().push(failure.is_some());
        let done = scaler.carry_out(Order::Down { from: 3 }, tell).await;
        let told = told.lock().unwrap().clone();
        assert_eq!(told, [true, false], "must tell once: {plan:?}");
        assert_eq!(
            server.writes().len(),
            plan.len(),
            "must not write after it has told: {plan:?}"
        );
        assert_eq!(done.scale.replicas, end, "must end with what is there: {plan:?}");
        assert_eq!(
            server.replicas(),
            end,
            "must not change behind its back: {plan:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_now_and_then_is_not_told() {
    let server = Server::new(
        0,
        [
            Scenario::Answer(503),
            Scenario::Lost,
            Scenario::Answer(403),
            Scenario::Answer(504),
            Scenario::Lost,
        ],
    );
    let mut scaler = server.scaler();
    scaler
        .carry_out(up(1), |failure| panic!("must not tell {failure:?}"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_behind_a_closed_fence() {
    let server = Server::new(0, [Scenario::FenceCloses]);
    let begun = Instant::now();
    let done = server.carry_out(up(1)).await;
    assert_eq!(done.outcome, Outcome::Written, "must be written when it opens");
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "must not be written before"
    );
    assert_eq!(server.writes().len(), 1, "must be written once");
}

#[tokio::test(start_paused = true)]
async fn a_write_ends_before_the_lease_does() {
    let mut server = Server::new(0, [Scenario::Lost; 100]);
    server.fence = Fence::new(server.clock, LEASE);
    server.fence.renew(server.clock.now());
    let end = server.clock.now() + LEASE;
    let mut scaler = server.scaler();
    let order = scaler.carry_out(up(1), |_| {});
    assert!(timeout(LEASE, order).await.is_err(), "must go on trying");
    let state = server.state.lock().unwrap();
    assert!(!state.given_up.is_empty(), "must have tried");
    for at in &state.given_up {
        assert!(
            *at < server.clock.instant(end),
            "must have given up before the lease ended"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn reads_without_writing() {
    let server = Server::new(0, []);
    let scale = server.scaler().read().await.unwrap();
    assert_eq!(scale.replicas, 0, "must take what is left out for zero");
    assert_eq!(scale.version.as_str(), "100", "must give the version");
}

fn up(want: u32) -> Order {
    Order::Up(NonZeroU32::new(want).unwrap())
}
