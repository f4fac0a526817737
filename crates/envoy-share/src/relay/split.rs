//! Splits the release of one target over its gates, and chooses the gate that asks first.
//!
//! The shares add up to no more than `concurrency_per_endpoint` for each ready endpoint, or to one for each gate that holds if those are
//! more: a gate without a share would hold its requests for as long as others have some.

use hold::{GateId, SlotRecord};
use protocol::{Confirm, State};

/// One gate's part in one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) gate: GateId,
    pub(super) held: u32,
    pub(super) confirmed_epoch: Option<u64>,
    /// It has beaten lately.
    pub(super) alive: bool,
}

/// Takes from the statuses' parts what concerns this target. True if the record changed.
pub(super) fn follow_parts(record: &mut SlotRecord, parts: &[Part]) -> bool {
    let Some(target) = &record.target else {
        return false;
    };
    if target.state != State::Ready {
        return false;
    }
    let mut changed = false;
    if record.confirmed_epoch != Some(target.epoch) {
        if parts
            .iter()
            .any(|part| part.confirmed_epoch == Some(target.epoch))
        {
            record.confirmed_epoch = Some(target.epoch);
            changed = true;
        } else if !matches!(target.confirm, Confirm::Off { .. }) {
            let waits = |gate: GateId| {
                parts
                    .iter()
                    .any(|part| part.gate == gate && part.held > 0 && part.alive)
            };
            if record.prober.is_none_or(|prober| !waits(prober)) {
                let next = parts
                    .iter()
                    .filter(|part| part.held > 0 && part.alive)
                    .max_by_key(|part| part.held)
                    .map(|part| part.gate);
                changed |= next.is_some() && next != record.prober;
                record.prober = next.or(record.prober);
            }
        }
    }
    let held: u64 = parts.iter().map(|part| u64::from(part.held)).sum();
    if held == 0 {
        return changed;
    }
    let total = u64::from(target.release.concurrency_per_endpoint)
        .saturating_mul(u64::from(target.ready_endpoints.max(1)));
    let share_of = |gate: GateId| {
        record
            .shares
            .iter()
            .find(|(other, _)| *other == gate)
            .map(|(_, share)| u64::from(*share))
    };
    let one_has_none = parts
        .iter()
        .any(|part| part.held > 0 && share_of(part.gate).is_none());
    let fair = |part: &Part| (total.saturating_mul(u64::from(part.held)) / held).max(1);
    let one_has_little = parts
        .iter()
        .any(|part| share_of(part.gate).is_some_and(|share| fair(part) > share.saturating_mul(2)));
    // Split anew when a gate came, or when a gate has less than half of what is fair: so too when the gates that are done have more than
    // half of it all.
    if one_has_none || one_has_little {
        let shares: Vec<(GateId, u32)> = parts
            .iter()
            .filter(|part| part.held > 0)
            .map(|part| (part.gate, u32::try_from(fair(part)).unwrap_or(u32::MAX)))
            .collect();
        if shares != record.shares {
            record.shares = shares;
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use hold::testing::mk_target;

    use super::*;

    const A: GateId = GateId(1);
    const B: GateId = GateId(2);
    const C: GateId = GateId(3);

    fn mk_record(shares: &[(GateId, u32)]) -> SlotRecord {
        let mut target = mk_target("web");
        target.state = State::Ready;
        target.epoch = 1;
        SlotRecord {
            target: Some(target),
            shares: shares.to_vec(),
            confirmed_epoch: Some(1),
            ..SlotRecord::default()
        }
    }

    fn part(gate: GateId, held: u32) -> Part {
        Part {
            gate,
            held,
            confirmed_epoch: None,
            alive: true,
        }
    }

    fn check(before: &[(GateId, u32)], parts: &[Part], after: &[(GateId, u32)], why: &str) {
        let mut record = mk_record(before);
        let changed = follow_parts(&mut record, parts);
        assert_eq!(record.shares, after, "{why}");
        assert_eq!(
            changed,
            before != after,
            "must say whether there is something to publish"
        );
    }

    #[test]
    fn shares_stay_while_they_are_about_fair() {
        let before = [(A, 75), (B, 25)];
        for (a, b) in [(30, 10), (20, 10), (5, 5), (9, 8), (1, 30), (1, 0)] {
            let parts = [part(A, a), part(B, b)];
            let why = format!("{a} and {b} are held");
            match (a, b) {
                (1, 30) => check(&before, &parts, &[(A, 3), (B, 96)], &why),
                _ => check(&before, &parts, &before, &why),
            }
        }
        check(
            &[(A, 75)],
            &[part(A, 10), part(C, 0)],
            &[(A, 75)],
            "a gate that holds nothing needs no share",
        );
    }

    #[test]
    fn shares_are_split_anew_when_a_gate_comes() {
        let parts = [part(A, 70), part(B, 28), part(C, 2)];
        check(
            &[(A, 75), (B, 25)],
            &parts,
            &[(A, 70), (B, 28), (C, 2)],
            "the third must have a share",
        );
    }

    #[test]
    fn shares_are_split_anew_when_one_has_less_than_half_of_what_is_fair() {
        let before = [(A, 75), (B, 25)];
        check(
            &before,
            &[part(A, 50), part(B, 50)],
            &before,
            "half of it is not less than half",
        );
        check(
            &before,
            &[part(A, 49), part(B, 51)],
            &[(A, 49), (B, 51)],
            "25 are less than half of 51",
        );
    }

    #[test]
    fn shares_are_split_anew_when_gates_that_are_done_have_half() {
        let parts = [part(A, 0), part(B, 1)];
        check(
            &[(A, 50), (B, 50)],
            &parts,
            &[(A, 50), (B, 50)],
            "half of it is in use",
        );
        check(
            &[(A, 51), (B, 49)],
            &parts,
            &[(B, 100)],
            "less than half of it is in use",
        );
    }

    #[test]
    fn no_gate_that_holds_is_left_without_a_share() {
        let parts = [part(A, 1_000), part(B, 1)];
        check(&[], &parts, &[(A, 99), (B, 1)], "one at least");
        check(
            &[(A, 99), (B, 1)],
            &[part(A, 0), part(B, 0)],
            &[(A, 99), (B, 1)],
            "no gate holds",
        );
    }

    #[test]
    fn shares_add_up_to_what_the_endpoints_take_or_to_one_for_each_gate() {
        for endpoints in [1, 2, 5] {
            for gates in [1, 3, 7, 64] {
                for most in [1, 10, 1_000] {
                    let mut record = mk_record(&[]);
                    if let Some(target) = &mut record.target {
                        target.ready_endpoints = endpoints;
                        target.release.concurrency_per_endpoint = 10;
                    }
                    let parts: Vec<_> = (0..gates)
                        .map(|gate| part(GateId(gate), 1 + gate * gate % most))
                        .collect();
                    follow_parts(&mut record, &parts);
                    let sum: u32 = record.shares.iter().map(|(_, share)| *share).sum();
                    let total = 10 * endpoints;
                    assert!(
                        record.shares.iter().all(|(_, share)| *share >= 1),
                        "each must move"
                    );
                    assert_eq!(record.shares.len(), gates as usize);
                    assert!(sum <= total + gates, "{sum} of {total} for {gates} gates");
                    let ones = record.shares.iter().filter(|(_, share)| *share == 1).count() as u32;
                    assert!(
                        sum <= total || sum - ones <= total,
                        "only gates that have a share may be beyond it"
                    );
                }
            }
        }
    }

    #[test]
    fn only_what_is_ready_is_split_and_asked_for() {
        let mut record = mk_record(&[]);
        if let Some(target) = &mut record.target {
            target.state = State::Waking;
        }
        assert!(!follow_parts(&mut record, &[part(A, 1)]));
        assert!(!follow_parts(&mut SlotRecord::default(), &[part(A, 1)]));
    }

    #[test]
    fn endpoints_add_up() {
        let mut record = mk_record(&[]);
        if let Some(target) = &mut record.target {
            target.ready_endpoints = 3;
        }
        assert!(follow_parts(&mut record, &[part(A, 1), part(B, 2)]));
        assert_eq!(record.shares, [(A, 100), (B, 200)]);
    }

    #[test]
    fn the_gate_that_holds_most_asks_first_unless_one_has_had_a_yes_or_none_may_ask() {
        let parts = [part(A, 1), part(B, 2)];
        let mut record = mk_record(&[]);
        record.confirmed_epoch = None;
        follow_parts(&mut record, &parts);
        assert_eq!(record.prober, Some(B));
        follow_parts(&mut record, &[part(A, 9), part(B, 1)]);
        assert_eq!(record.prober, Some(B), "must not change while it waits itself");
        follow_parts(&mut record, &[part(A, 9), part(B, 0)]);
        assert_eq!(record.prober, Some(A));

        let mut record = mk_record(&[(A, 50), (B, 50)]);
        record.confirmed_epoch = None;
        record.prober = Some(A);
        let done = [part(A, 0), part(B, 1)];
        assert!(
            follow_parts(&mut record, &done),
            "must be published, whatever the shares are"
        );
        assert_eq!((record.prober, record.shares.len()), (Some(B), 2));
        assert!(!follow_parts(&mut record, &done), "must be published once");
        let none = [part(A, 0), part(B, 0)];
        assert!(
            !follow_parts(&mut record, &none),
            "no request waits for an answer"
        );
        record.prober = None;
        assert!(
            !follow_parts(&mut record, &none),
            "no request waits for an answer"
        );
        assert_eq!(record.prober, None);

        let mut record = mk_record(&[]);
        follow_parts(&mut record, &parts);
        assert_eq!(record.prober, None, "there has been a yes");

        let mut record = mk_record(&[]);
        record.confirmed_epoch = None;
        if let Some(target) = &mut record.target {
            target.confirm = Confirm::Off { settle_ms: 0 };
        }
        follow_parts(&mut record, &parts);
        assert_eq!(record.prober, None, "no gate asks");
    }
}
