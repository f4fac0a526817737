//! Reads what a former relay has left in shared data as one state, wherever it ended.

use hold::{FixedMap, Slot, SlotRecord};
use protocol::TargetId;

/// A relay that ended between two writes may have left a target in its former place as well: what was written last stands.
pub(super) fn one_place_each(mut slots: Vec<(Slot, SlotRecord)>) -> Vec<(Slot, SlotRecord)> {
    let mut newest: FixedMap<TargetId, (u64, Slot)> = FixedMap::default();
    for (slot, record) in &slots {
        if let Some(target) = &record.target {
            let place = newest.entry(target.id.clone()).or_insert((record.version, *slot));
            *place = (record.version, *slot).max(*place);
        }
    }
    for (slot, record) in &mut slots {
        let id = record.target.as_ref().map(|target| &target.id);
        if id
            .and_then(|id| newest.get(id))
            .is_some_and(|(_, place)| place != slot)
        {
            *record = SlotRecord::default();
        }
    }
    slots
}
