//! Reads and writes shared data in our own types, by compare-and-swap.

use envoy_share::{Cells, Members, Record, keys};
use hold::{GateId, GateStatus, Manifest, Member, Slot, SlotRecord};
use protocol::Incarnation;

use crate::host;

/// Tries of a compare-and-swap before it is given up: with as many workers at once each wins in its turn.
const TRIES: u32 = 256;

/// A value and its compare-and-swap number. A value that cannot be read counts as missing, but is overwritten only by
/// a VM that has read it.
pub(crate) fn get<T: Record>(key: &str) -> (Option<T>, u32) {
    match host::shared_get(key) {
        Some((bytes, cas)) => (T::decode(&bytes), cas),
        None => (None, host::CREATE),
    }
}

pub(crate) fn cas<T: Record>(key: &str, value: &T, cas: u32) -> bool {
    host::shared_cas(key, &value.encode(), cas)
}

/// Writes if no other VM has since `cas` was read, and returns the number of what was written. `None` too if another VM has
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

/// Takes a root context off the list, and its status away: that first, while the id is not yet another's. False if others were
/// faster at every try.
pub(crate) fn leave(member: Member) -> bool {
    let key = keys::status(member.id);
    let (status, number) = get::<GateStatus>(&key);
    if status.is_some_and(|status| status.nonce == member.nonce) {
        host::shared_cas(&key, b"", number);
    }
    change_members(|members| (members.leave(member), ())).is_some()
}

pub(crate) fn members() -> Members {
    get(keys::MEMBERS).0.unwrap_or_default()
}

/// The incarnation of this `vm_id`: the first VM that asks makes it.
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

pub(crate) fn manifest() -> Option<Manifest> {
    get(keys::MANIFEST).0
}

/// The manifest and its number, unless it is the one of that number.
pub(crate) fn manifest_unless(known: u32) -> Option<(Manifest, u32)> {
    let (bytes, number) = host::shared_get(keys::MANIFEST)?;
    if number == known {
        return None;
    }
    Some((Manifest::decode(&bytes)?, number))
}

pub(crate) fn slot(slot: Slot) -> (SlotRecord, u32) {
    let (record, number) = get(&keys::slot(slot));
    (record.unwrap_or_default(), number)
}

pub(crate) fn put_status(gate: GateId, status: &GateStatus) {
    host::shared_put(&keys::status(gate), &status.encode());
}

/// The quotas.
pub(crate) struct Quotas;

impl Cells for Quotas {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        host::shared_get(key)
    }

    fn swap(&self, key: &str, value: &[u8], number: Option<u32>) -> bool {
        host::shared_cas(key, value, number.unwrap_or(host::CREATE))
    }
}
