//! Who may answer and write, and until when.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::active::ActiveFleet;
use crate::manual::Manual;
use crate::{Clock, Fence, FleetHandle, Metrics, new};
use fleet::testing::mk_settings;

const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn a_leadership_ends_with_its_lease_and_begins_no_write_in_the_last_third() {
    let clock = Clock::start();
    let fence = Fence::new(clock, LEASE);
    let told = || (fence.left(), fence.write_budget());
    assert_eq!(told(), (None, None), "it does not lead yet");
    after(1_000).await;
    let sent = clock.now();
    after(1_000).await;
    fence.renew(sent);
    let left = Some(Duration::from_secs(14));
    assert_eq!(told(), (left, left), "must count from when the request was sent");
    after(8_999).await;
    let left = Some(Duration::from_millis(5_001));
    assert_eq!(told(), (left, left));
    after(1).await;
    assert_eq!(
        told(),
        (Some(LEASE / 3), None),
        "a write may take longer than that"
    );
    after(4_999).await;
    assert_eq!(told(), (Some(Duration::from_millis(1)), None));
    after(1).await;
    assert_eq!(told(), (None, None), "it is over");
    fence.renew(clock.now());
    assert!(fence.left().is_some(), "must be renewed");
    fence.clone().close();
    assert_eq!(
        told(),
        (None, None),
        "it leads no more, whatever is left of the lease"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fleet_answers_until_another_does() {
    let (active, handle) = ActiveFleet::new();
    assert!(handle.active().is_none(), "none answers yet");
    active.take(mk_fleet(), None);
    let first = handle.active().expect("must answer");
    assert!(
        first.is_open() && first.ended().now_or_never().is_none(),
        "must go on"
    );
    active.take(mk_fleet(), None);
    assert!(!first.is_open(), "another answers");
    assert_eq!(first.ended().now_or_never(), Some(()), "its polls must end");
    let second = handle.active().expect("must answer");
    active.leave();
    assert!(handle.active().is_none() && !second.is_open(), "none answers");
    assert_eq!(second.ended().now_or_never(), Some(()), "its polls must end");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_answers_no_longer_than_its_lease_whether_that_is_noticed_or_not() {
    let clock = Clock::start();
    let fence = Fence::new(clock, LEASE);
    let (active, handle) = ActiveFleet::new();
    active.take(mk_fleet(), Some(fence.clone()));
    assert!(handle.active().is_none(), "the lease is not there yet");
    fence.renew(clock.now());
    let open = handle.active().expect("must answer");
    after(14_999).await;
    assert!(open.is_open(), "must answer to the end");
    after(1).await;
    assert!(
        !open.is_open() && handle.active().is_none(),
        "another may lead by now"
    );
    assert!(open.ended().now_or_never().is_none(), "it has not been noticed");
}

fn mk_fleet() -> FleetHandle {
    let (handle, _) = new(
        mk_settings(),
        Clock::start(),
        Metrics::default(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    handle
}

async fn after(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}
