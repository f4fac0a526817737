//! What listeners to a fleet hear, and what one that is too slow misses.

use tokio_util::sync::CancellationToken;

use crate::manual::Manual;
use crate::{Clock, FleetHandle, Metrics, new};
use fleet::lifecycle::Reason;
use fleet::testing::{id, mk_settings, mk_spec};
use fleet::{FleetEvent, WokenBy};

#[tokio::test(start_paused = true)]
async fn listeners_hear_of_targets_and_learn_of_the_end() {
    let (handle, metrics, end) = spawn();
    handle
        .configure(vec![mk_spec("web", "web", "").into()])
        .await
        .unwrap();
    let mut events = handle.events().unwrap();
    handle.wake(id("web")).await.unwrap().unwrap();
    let moves = [events.next().await.unwrap(), events.next().await.unwrap()];
    let told: Vec<_> = moves
        .iter()
        .map(|event| match event {
            FleetEvent::Moved {
                to, why, by, woke_in, ..
            } => (*to, *why, by.clone(), woke_in.is_some()),
            other => panic!("must tell of targets alone: {other:?}"),
        })
        .collect();
    let person = Some(WokenBy::Person);
    let expected = [
        ("waking", Reason::Asked, person.clone(), false),
        ("ready", Reason::Endpoints, person, true),
    ];
    assert_eq!(told, expected, "must tell who woke it, and that it is up");
    end.cancel();
    assert_eq!(events.next().await, None, "must end with the fleet");
    assert_eq!(metrics.notes_missed.get(), 0, "must have missed nothing");
    assert!(handle.events().is_err(), "must not wait for what has ended");
}

#[tokio::test(start_paused = true)]
async fn readers_hear_whose_status_changes_and_find_it_changed() {
    let (handle, _, end) = spawn();
    let mut changes = handle.changes().unwrap();
    handle
        .configure(vec![mk_spec("web", "web", "").into()])
        .await
        .unwrap();
    assert_eq!(
        changes.recv().await,
        Ok(id("web")),
        "must be told that it has come"
    );
    handle.wake(id("web")).await.unwrap().unwrap();
    assert_eq!(changes.recv().await, Ok(id("web")), "must be told that it wakes");
    let web = handle.target(id("web")).await.unwrap().unwrap();
    assert_eq!(web.state, "ready", "must show the newest");
    end.cancel();
    while changes.recv().await.is_ok() {}
    assert!(handle.changes().is_err(), "must not wait for what has ended");
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_holds_no_other_up_and_what_it_misses_is_counted() {
    let (handle, metrics, _end) = spawn();
    handle
        .configure(vec![mk_spec("web", "web", "suspend: true").into()])
        .await
        .unwrap();
    // It has been suspended before anybody listens.
    handle.status().await.unwrap();
    let mut events = handle.events().unwrap();
    for _ in 0..1_100 {
        handle.wake(id("web")).await.unwrap().unwrap_err();
    }
    let Some(FleetEvent::Refused { .. }) = events.next().await else {
        panic!("must tell of wishes that are refused")
    };
    assert_eq!(
        metrics.notes_missed.get(),
        1_100 - 1_024,
        "must count what was too much"
    );
}

fn spawn() -> (FleetHandle, Metrics, CancellationToken) {
    let (metrics, end) = (Metrics::default(), CancellationToken::new());
    let settings = mk_settings();
    let clock = Clock::start();
    let (handle, actor) = new(
        settings,
        clock,
        metrics.clone(),
        |_| Manual::default(),
        end.clone(),
    );
    tokio::spawn(actor);
    (handle, metrics, end)
}
