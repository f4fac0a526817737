//! One target of a configuration, as a fleet is told of it.

use super::Condition;
use crate::config::ScaleTarget;
use crate::lifecycle::Observed;

/// One target as the configuration has it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    /// Its document; the keys hold the derived ones as well.
    pub spec: ScaleTarget,
    /// What is seen of its workload, where that is known before it is adopted: a target that is new begins in the
    /// phase that fits.
    pub seen: Option<Observed>,
    /// What a person should know about its document.
    pub conditions: Vec<Condition>,
}

impl From<ScaleTarget> for Configured {
    fn from(spec: ScaleTarget) -> Self {
        Self {
            spec,
            seen: None,
            conditions: Vec::new(),
        }
    }
}
