//! The actor's turns: what comes first when much has come.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::manual::Manual;
use crate::{Clock, Metrics, new};
use fleet::command::Sighting;
use fleet::lifecycle::Observed;
use fleet::testing::{id, mk_proxy, mk_settings};

/// Nothing is ever answered out of a past that is over, however much waits.
#[tokio::test(start_paused = true)]
async fn what_is_due_is_done_before_whatever_waits_in_the_queue() {
    let (fleet, actor) = new(
        mk_settings(),
        Clock::start(),
        Metrics::default(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    let actor = tokio::spawn(actor);
    drop(fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap());
    let silent = async || {
        fleet
            .status()
            .await
            .unwrap()
            .proxies
            .iter()
            .all(|proxy| proxy.silent)
    };
    assert!(!silent().await, "must be live");

    // The actor is not scheduled before this task waits: the silence is over when it sees the first message.
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let fleet = fleet.clone();
        others.spawn(async move {
            loop {
                let sighting = Sighting {
                    id: id("unknown"),
                    seen: Observed::default(),
                };
                if fleet.observe(sighting).await.is_err() {
                    return;
                }
            }
        });
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(15)).await;
    assert!(
        silent().await,
        "must have gone silent although the queue is never empty"
    );
    others.abort_all();
    assert!(!actor.is_finished(), "must go on");
}

/// The end of a poll overtakes what waits in the queue, and so its own beginning.
#[tokio::test(start_paused = true)]
async fn a_poll_whose_caller_goes_before_it_is_taken_is_closed() {
    let (fleet, actor) = new(
        mk_settings(),
        Clock::start(),
        Metrics::default(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    // The actor is not scheduled before this task waits.
    let actor = tokio::spawn(actor);
    let mut poll = Box::pin(fleet.open_poll(mk_proxy("a"), None));
    assert!(poll.as_mut().now_or_never().is_none(), "must wait for the actor");
    drop(poll);
    let polling = async || fleet.proxies().await.unwrap().first().map(|proxy| proxy.polling);
    assert_eq!(
        polling().await,
        Some(false),
        "must not stay open: it would be heard of for ever"
    );
    assert_eq!(fleet.counts().polling, 0);
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(fleet.proxies().await.unwrap()[0].silent, "must fall silent");
    assert!(!actor.is_finished(), "must go on");
}
