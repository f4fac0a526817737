//! Names the keys and queues of shared data. All start with `holdfast.v`, because without a `vm_id` (Istio's `WasmPlugin`) the keys
//! are shared with every other plugin, and with the format of the values: two versions that write differently are two
//! proxies under one `vm_id`, and never touch each other's values.
//!
//! Values are [`crate::Record`]s and [`crate::Quota`]s. Statuses are the truth; the queues beside them only say "look". No value holds a
//! time: only ages and beats.

use hold::{GateId, Slot};

use crate::record::format_number;

/// A name of this format's.
macro_rules! key {
    ($name:literal) => {
        concat!("holdfast.v", format_number!(), ".", $name)
    };
}

/// The proxy's incarnation: 16 hexadecimal digits.
pub const INCARNATION: &str = key!("incarnation");
/// [`crate::Lease`].
pub const LEASE: &str = key!("lease");
/// [`crate::Members`].
pub const MEMBERS: &str = key!("members");
/// [`hold::Manifest`].
pub const MANIFEST: &str = key!("manifest");
/// [`crate::Quota`] of the whole Envoy.
pub const ENVOY_QUOTA: &str = key!("quota");

/// [`crate::Quota`] of one target slot.
pub fn quota(slot: Slot) -> String {
    format!(key!("quota.{}"), slot.0)
}

/// [`hold::SlotRecord`].
pub fn slot(slot: Slot) -> String {
    format!(key!("slot.{}"), slot.0)
}

/// [`hold::GateStatus`] of a gate.
pub fn status(gate: GateId) -> String {
    format!(key!("status.{}"), gate.0)
}

/// Queue of a root context.
pub fn queue(gate: GateId) -> String {
    format!(key!("queue.{}"), gate.0)
}

/// Set while a message on that queue has not been taken: at most one is outstanding.
pub fn notified(gate: GateId) -> String {
    format!(key!("notified.{}"), gate.0)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn every_name_says_the_format() {
        let prefix = format!("holdfast.v{}.", crate::record::FORMAT);
        for name in [
            INCARNATION.to_owned(),
            LEASE.to_owned(),
            MEMBERS.to_owned(),
            MANIFEST.to_owned(),
            ENVOY_QUOTA.to_owned(),
            quota(Slot(1)),
            slot(Slot(1)),
            status(GateId(1)),
            queue(GateId(1)),
            notified(GateId(1)),
        ] {
            assert!(name.starts_with(&prefix), "{name} must be of its format alone");
        }
    }
}
