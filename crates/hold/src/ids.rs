use std::time::Duration;

/// A point on the VM's own monotonic clock, as the time since the VM started. Never leaves the VM.
pub type Time = Duration;

/// Envoy's context id of one HTTP stream, unique within a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Number of one root context in the members' list of its `vm_id`; used again after its owner has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId(pub u32);

/// Place of one target in shared data; used again after the target has been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);
