//! Properties of the lifecycle under any sequence of facts and events: what it must never do.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Steps until nothing moves: more than any chain of phases is long.
const MANY: usize = 16;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any life, whatever happens to it: no stop without every proxy's word and without idleness or a wish, no second
    /// command while one is under way, no end of stopping before everything is gone, no spinning.
    #[test]
    fn no_history_breaks_a_promise(turns in prop::collection::vec(turn(), 1..60)) {
        let mut life = Lifecycle::asleep(Time::default());
        let mut now = Time::default();
        for turn in turns {
            now = now + turn.wait;
            let facts = turn.facts(now);
            let mut event = turn.event(&life);
            for n in 0.. {
                prop_assert!(n < MANY, "must come to rest");
                let before = life.clone();
                let taken = step(&before, event.clone(), &facts);
                check(&before, &event, &facts, &taken)?;
                check_confirms(&before, &facts)?;
                life = taken.life;
                if taken.effects.contains(&Effect::Drop) {
                    return Ok(());
                }
                if taken.moved.is_none() {
                    break;
                }
                event = Event::Tick;
            }
            if let Some(deadline) = deadline(&life, &facts) {
                prop_assert!(deadline > now, "must not spin: {:?} at {now:?} wants {deadline:?}", life.phase);
            }
        }
    }
}

/// Whether all have confirmed changes nothing where it is said not to matter: the fleet does not ask there.
fn check_confirms(life: &Lifecycle, facts: &Facts) -> Result<(), TestCaseError> {
    if life.phase.minds_confirms()
        || !matches!(facts.consent, DrainConsent::Confirmed | DrainConsent::Unconfirmed)
    {
        return Ok(());
    }
    let [one, other] = [DrainConsent::Confirmed, DrainConsent::Unconfirmed].map(|consent| Facts {
        consent,
        ..facts.clone()
    });
    prop_assert_eq!(step(life, Event::Tick, &one), step(life, Event::Tick, &other));
    prop_assert_eq!(deadline(life, &one), deadline(life, &other));
    Ok(())
}

fn check(before: &Lifecycle, event: &Event, facts: &Facts, taken: &Step) -> Result<(), TestCaseError> {
    let after = &taken.life;
    prop_assert!(taken.effects.len() <= 2, "must not do much at once");
    prop_assert!(
        after.command >= before.command && after.epoch >= before.epoch,
        "must count upwards"
    );
    for effect in &taken.effects {
        match effect {
            Effect::Stop { command, from } => {
                if let Phase::Draining { from: begun, .. } = before.phase {
                    prop_assert_eq!(*from, begun, "must name the replicas that the drain began with");
                    prop_assert!(
                        after.seen.replicas == begun || !before.obeyed(),
                        "must not stop what another manager has scaled meanwhile"
                    );
                }
                prop_assert_eq!(*command, after.command, "must number its commands");
                prop_assert_eq!(
                    facts.consent,
                    DrainConsent::Confirmed,
                    "must not stop without every proxy's word"
                );
                prop_assert!(!facts.busy(), "must not stop what is in use");
                prop_assert!(!after.seen.absent, "must not stop what is not there");
                prop_assert_eq!(
                    &after.phase,
                    &Phase::Stopping,
                    "must be stopping before zero is written"
                );
                prop_assert!(!before.phase.passes(), "must not stop what requests pass into");
                let now = Lifecycle {
                    seen: after.seen.clone(),
                    ..before.clone()
                };
                prop_assert!(
                    *event == Event::Sleep || !now.start_has_begun(),
                    "must not cancel a start that has begun"
                );
                prop_assert!(
                    facts.matched || asked(before, event),
                    "must not stop what was never matched"
                );
            }
            Effect::Start { .. } => {
                prop_assert!(
                    matches!(after.phase, Phase::Waking { .. }),
                    "must be waking when started"
                );
                prop_assert!(before.phase != Phase::Stopping, "must not turn a stop back");
            }
            Effect::Drop => {
                prop_assert!(after.retiring, "must not be dropped unless removed");
                let overdue = after.overdue_at(facts).is_some_and(|at| facts.now >= at);
                prop_assert!(
                    facts.held == 0 || after.phase.passes() || after.seen.absent || overdue,
                    "must not be dropped while a request waits for it"
                );
            }
        }
    }
    let (from, to) = (before.phase.name(), after.phase.name());
    prop_assert_eq!(from != to, taken.moved.is_some(), "must say why it moves");
    match (from, to) {
        ("ready" | "suspended", "draining") => {
            prop_assert!(!facts.busy(), "must not drain what is in use");
            prop_assert!(
                !matches!(facts.consent, DrainConsent::NoProxy | DrainConsent::Silent),
                "silence must not permit a drain"
            );
            prop_assert!(
                facts.now >= facts.may_drain_at,
                "must not drain just after a start"
            );
            if taken.moved == Some(Reason::Idle) {
                let quiet = facts.last_use.map_or(before.since, |used| used.max(before.since));
                prop_assert!(
                    facts.now >= quiet + facts.idle_after,
                    "must have been idle for long enough"
                );
            }
        }
        ("ready" | "draining", "stopping") if taken.moved == Some(Reason::Finished) => {
            prop_assert!(!facts.busy(), "must not sleep while a request uses it");
            prop_assert!(
                after.seen.finished && after.seen.replicas == 0,
                "must have ended by itself"
            );
        }
        ("stopping", "asleep") => {
            prop_assert!(
                after.obeyed() && after.seen.left == 0,
                "must be gone before it is asleep"
            );
        }
        ("stopping", "stopping" | "waking" | "ready") => {}
        ("stopping", _) => prop_assert!(false, "must not leave stopping for {to}"),
        ("failed", "waking") if *event == Event::Tick => {
            let came = before.retiring || facts.demand(before.since);
            prop_assert!(came, "must not retry without a request");
        }
        (_, "ready") => {
            let raised = u64::from(from != "draining" && from != "ready");
            prop_assert_eq!(
                after.epoch,
                before.epoch + raised,
                "must begin an epoch unless it turned back"
            );
            prop_assert!(
                from == to || (after.obeyed() && after.seen.ready > 0),
                "must have endpoints to be ready"
            );
        }
        _ => {}
    }
    Ok(())
}

fn asked(before: &Lifecycle, event: &Event) -> bool {
    // The caller takes a person's sleep as a match for good; here the facts are random.
    *event == Event::Sleep || matches!(before.phase, Phase::Draining { .. })
}

/// One thing that happens, after a while, in some state of the world.
#[derive(Clone, Debug)]
struct Turn {
    wait: Duration,
    what: u8,
    seen: (u32, u32, u32, bool, bool),
    held: u64,
    in_flight: u64,
    arrival_age: Option<Duration>,
    consent: DrainConsent,
    matched: bool,
    suspend: bool,
    idle_after: Duration,
}

impl Turn {
    fn facts(&self, now: Time) -> Facts {
        let arrival = self.arrival_age.and_then(|age| now.checked_before(age));
        Facts {
            now,
            held: self.held,
            in_flight: self.in_flight,
            last_arrival: arrival,
            last_use: arrival,
            consent: self.consent,
            matched: self.matched,
            may_drain_at: Time::new(Duration::from_secs(30)),
            idle_after: self.idle_after,
            suspend: self.suspend,
            sleeps_when_idle: true,
            jitter: 500,
            policy: Policy::default(),
        }
    }

    fn event(&self, life: &Lifecycle) -> Event {
        match self.what {
            0..4 => Event::Tick,
            4..10 => {
                let (replicas, ready, left, failed, stale) = self.seen;
                // Missing, with and without endpoints.
                let absent = failed && replicas == 0;
                Event::Observed(Observed {
                    command: if stale {
                        life.command.saturating_sub(1)
                    } else {
                        life.command
                    },
                    replicas,
                    ready: ready.min(left),
                    left,
                    absent,
                    finished: replicas == 0
                        && left == 0
                        && !absent
                        && self.wait.as_millis().is_multiple_of(2),
                    failure: failed.then(|| Failure::new(FailureClass::Crash, "it broke")),
                    set_by: None,
                })
            }
            10 => Event::Wake,
            11 | 12 => Event::Sleep,
            13 => Event::Retire,
            _ => Event::Restore,
        }
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let consent = prop_oneof![
        1 => Just(DrainConsent::NoProxy),
        1 => Just(DrainConsent::Silent),
        1 => Just(DrainConsent::Unconfirmed),
        3 => Just(DrainConsent::Confirmed)
    ];
    let count = || prop_oneof![3 => Just(0u64), 1 => 1u64..3];
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    let seen = (
        0u32..4,
        0u32..2,
        0u32..2,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    );
    let world = (
        count(),
        count(),
        prop::option::of(seconds(0..90)),
        consent,
        any::<bool>(),
    );
    let rest = (prop::bool::weighted(0.1), seconds(1..20));
    (seconds(0..30), 0u8..15, seen, world, rest).prop_map(|(wait, what, seen, world, rest)| {
        let (held, in_flight, arrival_age, consent, matched) = world;
        let (suspend, idle_after) = rest;
        Turn {
            wait,
            what,
            seen,
            held,
            in_flight,
            arrival_age,
            consent,
            matched,
            suspend,
            idle_after,
        }
    })
}
