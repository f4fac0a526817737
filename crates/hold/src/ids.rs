//! Names of things: streams, root contexts, slots.

/// Envoy's context id of one HTTP stream, unique within a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Number of one root context in the members' list of its `vm_id`; used again after its owner has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId(pub u32);

/// Place of one target in shared data; used again after the target has been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// One root context that has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names its status and its queue.
    pub id: GateId,
    /// Random: tells two users of the same id apart.
    pub nonce: u64,
    /// False for the singleton service, which owns no streams and keeps no status.
    pub gate: bool,
}
