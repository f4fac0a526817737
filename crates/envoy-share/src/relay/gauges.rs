//! The values of the gauges, which the relay records for the whole Envoy.

/// What the gauges should show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests held now.
    pub held: u64,
    /// Requests passed or resumed and not yet ended.
    pub in_flight: u64,
    /// Targets known.
    pub targets: u64,
    /// Targets that are ready.
    pub targets_ready: u64,
    /// Targets that are held for because a later version says something of them that this one does not understand.
    pub targets_unknown: u64,
    /// Gates that write their statuses.
    pub gates: u64,
    /// Gates that went silent and are not forgotten yet.
    pub gates_silent: u64,
    /// 1 while the control plane can be reached.
    pub control_plane_up: u64,
    /// Since the last successful sync, in ms.
    pub sync_age_ms: u64,
}
