//! Shared data in our own types: records in, records out, compare-and-swap in between.

use hold::{Bound, GateId, GiveBack, Head, Ledger, Member, Members, Record, Row, Slot, SlotRecord, keys};
use protocol::Incarnation;

use crate::host;

/// Tries of a compare-and-swap before it is given up: with as many workers at once each wins in its turn.
const TRIES: u32 = 256;

/// A value and its compare-and-swap number. A value that cannot be read counts as missing, but is overwritten only by
/// who has seen it.
pub(crate) fn get<T: Record>(key: &str) -> (Option<T>, u32) {
    match host::shared_get(key) {
        Some((bytes, cas)) => (T::decode(&bytes), cas),
        None => (None, host::CREATE),
    }
}

pub(crate) fn cas<T: Record>(key: &str, value: &T, cas: u32) -> bool {
    host::shared_cas(key, &value.encode(), cas)
}

/// Writes if nobody else has since `cas` was read, and returns the number of what was written. `None` too if somebody has
/// written between that and the look at the number: the next write has to fail.
pub(crate) fn put<T: Record>(key: &str, value: &T, cas: u32) -> Option<u32> {
    let bytes = value.encode();
    if !host::shared_cas(key, &bytes, cas) {
        return None;
    }
    let (written, number) = host::shared_get(key)?;
    (written == bytes).then_some(number)
}

/// Changes the list of members; `change` says whether there is anything to write.
fn change_members<T>(mut change: impl FnMut(&mut Members) -> (bool, T)) -> Option<T> {
    for _ in 0..TRIES {
        let (members, number) = get::<Members>(keys::MEMBERS);
        let mut members = members.unwrap_or_default();
        let (changed, out) = change(&mut members);
        if !changed || cas(keys::MEMBERS, &members, number) {
            return Some(out);
        }
    }
    None
}

/// Registers a root context.
pub(crate) fn join(gate: bool) -> Option<Member> {
    let nonce = host::random();
    change_members(|members| (true, members.join(nonce, gate)))
}

/// Takes a root context off the list.
pub(crate) fn leave(member: Member) {
    change_members(|members| (members.leave(member), ()));
    host::shared_put(&keys::row(member.id), b"");
}

pub(crate) fn members() -> Members {
    get(keys::MEMBERS).0.unwrap_or_default()
}

/// The incarnation of this `vm_id`: whoever comes first makes it.
pub(crate) fn incarnation() -> Option<Incarnation> {
    for _ in 0..TRIES {
        let (known, number) = get::<Incarnation>(keys::INCARNATION);
        if known.is_some() {
            return known;
        }
        let new = Incarnation::from_random(host::random());
        if cas(keys::INCARNATION, &new, number) {
            return Some(new);
        }
    }
    None
}

pub(crate) fn head() -> Option<Head> {
    get(keys::HEAD).0
}

/// The head and its number, unless it is the one of that number.
pub(crate) fn head_unless(known: u32) -> Option<(Head, u32)> {
    let (bytes, number) = host::shared_get(keys::HEAD)?;
    if number == known {
        return None;
    }
    Some((Head::decode(&bytes)?, number))
}

pub(crate) fn slot(slot: Slot) -> (SlotRecord, u32) {
    let (record, number) = get(&keys::slot(slot));
    (record.unwrap_or_default(), number)
}

pub(crate) fn put_row(gate: GateId, row: &Row) {
    host::shared_put(&keys::row(gate), &row.encode());
}

fn change_ledger<T>(key: &str, mut change: impl FnMut(&mut Ledger) -> Result<T, Bound>) -> Result<T, Bound> {
    for _ in 0..TRIES {
        let (mut ledger, number) = match host::shared_get(key) {
            Some((bytes, number)) => (Ledger::decode(&bytes), number),
            None => (Ledger::default(), host::CREATE),
        };
        let before = ledger.clone();
        let out = change(&mut ledger)?;
        if ledger == before || host::shared_cas(key, &ledger.encode(), number) {
            return Ok(out);
        }
    }
    Err(Bound::Requests)
}

/// Takes one request of `bytes` from the ledger under `key`.
pub(crate) fn take_credit(
    key: &str,
    gate: GateId,
    bytes: u64,
    requests: u32,
    max_bytes: u64,
) -> Result<(), Bound> {
    change_ledger(key, |ledger| ledger.take(gate, bytes, requests, max_bytes))
}

/// Gives credits back to the targets' ledgers, and their sum to the Envoy's.
pub(crate) fn give_back(gate: GateId, credits: &[GiveBack]) {
    let mut sum = (0, 0);
    for credit in credits {
        sum.0 += credit.requests;
        sum.1 += credit.bytes;
        if let Some(slot) = credit.slot {
            give_back_to(&keys::ledger(slot), gate, credit.requests, credit.bytes);
        }
    }
    if sum != (0, 0) {
        give_back_to(keys::ENVOY_LEDGER, gate, sum.0, sum.1);
    }
}

pub(crate) fn give_back_to(key: &str, gate: GateId, requests: u32, bytes: u64) {
    let _ = change_ledger(key, |ledger| {
        ledger.give_back(gate, requests, bytes);
        Ok(())
    });
}

/// Frees every credit of a gate that is no more.
pub(crate) fn free_credits(gate: GateId, slots: u32) {
    let reap = |ledger: &mut Ledger| {
        ledger.reap(gate);
        Ok(())
    };
    let _ = change_ledger(keys::ENVOY_LEDGER, reap);
    for slot in 0..slots {
        let _ = change_ledger(&keys::ledger(Slot(slot)), reap);
    }
}
