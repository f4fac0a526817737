//! The actor's turns: what comes first when much has come.

use std::time::Duration;

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
