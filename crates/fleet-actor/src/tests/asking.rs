//! What is asked of a fleet, what it publishes, and what is counted of it.

use futures_util::FutureExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use protocol::State;
use tokio_util::sync::CancellationToken;

use crate::manual::Manual;
use crate::{Clock, FleetHandle, Metrics, new};
use fleet::testing::{id, mk_proxy, mk_settings, mk_spec};
use fleet::view::{MAX_REMOVALS, Question};
use fleet::{Configured, WishRefusal};

#[tokio::test(start_paused = true)]
async fn wishes_are_carried_out_or_refused() {
    let fleet = spawn(&Metrics::default());
    configure(&fleet, &["web"]).await;
    let state = async || fleet.target(id("web")).await.unwrap().map(|target| target.state);
    assert_eq!(state().await, Some("asleep"));
    assert!(fleet.target(id("no")).await.unwrap().is_none(), "there is none");
    fleet.toggle(id("web")).await.unwrap().unwrap();
    assert_eq!(state().await, Some("ready"), "must be turned on");
    let unknown = Err(WishRefusal::Unknown);
    assert_eq!(fleet.toggle(id("no")).await.unwrap(), unknown);
    assert_eq!(fleet.wake(id("no")).await.unwrap(), unknown);
    assert_eq!(fleet.sleep(id("no")).await.unwrap(), unknown);
    assert!(
        fleet.sleep(id("web")).await.unwrap().is_err(),
        "no proxy has agreed"
    );
    assert_eq!(state().await, Some("ready"), "must stay as it is");
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_seen_before_anything_else_is_answered() {
    let metrics = Metrics::default();
    let fleet = spawn(&metrics);
    let view = fleet.view();
    assert!(!view.borrow().is_complete(), "nothing is known yet");
    configure(&fleet, &["web", "other"]).await;
    assert_eq!(fleet.target(id("web")).await.unwrap().unwrap().state, "asleep");
    let everything = view.borrow().answer(Question::Everything);
    let states: Vec<_> = everything.changed.iter().map(|target| target.state).collect();
    assert_eq!(states, [State::Asleep, State::Asleep]);

    // What is removed while it sleeps is up first, which a person says.
    for n in 0..=MAX_REMOVALS {
        let name = format!("t{n}");
        configure(&fleet, &["web", &name]).await;
        fleet.wake(id(&name)).await.unwrap().unwrap();
    }
    configure(&fleet, &["web"]).await;
    assert_eq!(fleet.status().await.unwrap().targets.len(), 1);
    let cut_off = view.borrow().truncations();
    assert!(cut_off > 0, "must be bounded");
    assert_eq!(metrics.history_truncations.get(), cut_off, "must be counted");
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_open_until_a_newer_one_of_the_same_proxy() {
    let fleet = spawn(&Metrics::default());
    let older = fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap();
    assert!(older.ended().now_or_never().is_none(), "must stay open");
    assert_eq!(fleet.counts().polling, 1);
    let newer = fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap();
    older.ended().await;
    drop(older);
    fleet.proxies().await.unwrap();
    assert_eq!(fleet.counts().polling, 1, "the newer one is open");
    drop(newer);
    fleet.proxies().await.unwrap();
    assert_eq!((fleet.counts().polling, fleet.counts().live), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_proxies() {
    let fleet = spawn(&Metrics::default());
    configure(&fleet, &["web"]).await;
    fleet.wake(id("web")).await.unwrap().unwrap();
    let poll = fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap();
    let mut closing = Box::pin(fleet.close());
    assert!(closing.as_mut().now_or_never().is_none());
    fleet.proxies().await.unwrap();
    assert!(closing.as_mut().now_or_never().is_none(), "it has not confirmed");
    drop(poll);
    tokio::time::sleep(std::time::Duration::from_secs(16)).await;
    assert_eq!(closing.await, Ok(()), "it speaks no more");
}

#[tokio::test(start_paused = true)]
async fn other_numbers_are_told_only_if_others_are_known() {
    let fleet = spawn(&Metrics::default());
    configure(&fleet, &["web"]).await;
    fleet.proxies().await.unwrap();
    let mut changes = fleet.known_changes();
    changes.mark_unchanged();
    let changed = async |changes: &tokio::sync::watch::Receiver<u64>| {
        fleet.proxies().await.unwrap();
        changes.has_changed().unwrap()
    };
    fleet.wake(id("web")).await.unwrap().unwrap();
    assert!(!changed(&changes).await, "the same are known");
    let _poll = fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap();
    assert!(changed(&changes).await, "one has come");
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_targets_is_counted() {
    let metrics = Metrics::default();
    let fleet = spawn(&metrics);
    configure(&fleet, &["web", "other"]).await;
    fleet.wake(id("web")).await.unwrap().unwrap();
    let _poll = fleet.open_poll(mk_proxy("a"), None).await.unwrap().unwrap();
    fleet.proxies().await.unwrap();
    metrics.show(Some(&fleet.counts()));
    metrics.bounds.hit("polls");
    metrics.known_written(true);
    metrics.known_written(false);
    let shown = shown(&metrics);
    for line in [
        "targets{state=\"ready\"} 1",
        "targets{state=\"asleep\"} 1",
        "targets{state=\"failed\"} 0",
        "proxies{state=\"live\"} 1",
        "proxies{state=\"silent\"} 0",
        "proxies_by_module{module=\"unknown\"} 1",
        "open_polls 1",
        "wakes_total 1",
        "wake_seconds_count 1",
        "sleeps_total 0",
        "bounds_hit_total{bound=\"polls\"} 1",
        "known_proxies_writes_total{outcome=\"ok\"} 1",
        "known_proxies_writes_total{outcome=\"failed\"} 1",
    ] {
        assert!(shown.lines().any(|one| one == line), "must show {line}: {shown}");
    }
    metrics.show(None);
    let shown = self::shown(&metrics);
    assert!(
        !shown.contains("targets{") && !shown.contains("proxies{") && !shown.contains("by_module{"),
        "there is no fleet here: {shown}"
    );
    assert!(shown.lines().any(|one| one == "open_polls 0"), "{shown}");
}

#[test]
fn each_way_out_of_a_phase_is_counted_as_what_it_is() {
    use fleet::lifecycle::Reason;
    let cases = [
        ("stopping", "asleep", Reason::Gone, "sleeps_total 1"),
        ("waking", "asleep", Reason::Gone, "sleeps_total 0"),
        ("waking", "failed", Reason::CannotStart, "failures_total 1"),
        ("waking", "ready", Reason::Endpoints, "failures_total 0"),
        (
            "draining",
            "ready",
            Reason::InUse,
            "drains_abandoned_total{reason=\"in_use\"} 1",
        ),
        (
            "draining",
            "waking",
            Reason::Lost,
            "drains_abandoned_total{reason=\"lost\"} 1",
        ),
        (
            "stopping",
            "ready",
            Reason::Abandoned,
            "drains_abandoned_total{reason=\"abandoned\"} 1",
        ),
    ];
    for (from, to, why, line) in cases {
        let metrics = Metrics::default();
        metrics.moved(from, to, why, None);
        let shown = shown(&metrics);
        assert!(shown.lines().any(|one| one == line), "{from} -> {to}: {shown}");
        let abandoned = shown.contains("drains_abandoned_total{");
        assert_eq!(abandoned, line.starts_with("drains_abandoned"), "{from} -> {to}");
    }
}

fn spawn(metrics: &Metrics) -> FleetHandle {
    let (fleet, actor) = new(
        mk_settings(),
        Clock::start(),
        metrics.clone(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    tokio::spawn(actor);
    fleet
}

async fn configure(fleet: &FleetHandle, names: &[&str]) {
    let specs = names
        .iter()
        .map(|name| mk_spec(name, &format!("{name}.example.com"), ""));
    let all: Vec<Configured> = specs.map(Into::into).collect();
    fleet.configure(all).await.unwrap();
}

fn shown(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    metrics.bounds.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}
