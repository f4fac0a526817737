//! One cluster of one proxy that does not reach its target, as it is kept between two reports.

use protocol::TargetId;

use crate::time::Time;

/// One cluster of one proxy that does not reach its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The target that the cluster leads to.
    pub(in crate::fleet) target: TargetId,
    /// The target's epoch that it is about: it says nothing of the next.
    pub(in crate::fleet) epoch: u64,
    /// Envoy's name of the cluster.
    pub(in crate::fleet) cluster: String,
    /// What the proxy saw last.
    pub(in crate::fleet) saw: String,
    /// When it first saw that in this epoch.
    pub(in crate::fleet) since: Time,
}

impl Missed {
    /// The target that the cluster leads to.
    pub(super) fn target(&self) -> &TargetId {
        &self.target
    }

    /// True if it is about the same cluster in the same epoch, whatever was seen.
    pub(in crate::fleet) fn is_same(&self, other: &Self) -> bool {
        (&self.target, self.epoch, &self.cluster) == (&other.target, other.epoch, &other.cluster)
    }
}
