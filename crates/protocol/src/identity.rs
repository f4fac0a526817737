//! Names of targets and proxies, and points in the history of a control plane.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Name of a target, unique within one control plane: `namespace/name` of its `ScaleTarget` document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(String);

impl TargetId {
    /// Takes any text: the control plane has validated the document's names.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The text as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random name of one life of one group of VMs (one `vm_id` in one Envoy process), as 16 hexadecimal digits.
///
/// Two generations of Envoy at a hot restart share a node id but not an incarnation, so they count as two proxies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(String);

impl Incarnation {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Sixteen hexadecimal digits of `random`.
    pub fn from_random(random: u64) -> Self {
        Self(format!("{random:016x}"))
    }

    /// The text as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The proxy that asks: one group of VMs in one Envoy process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Envoy's node id.
    pub id: String,
    /// Tells two lives of the same node id apart.
    pub incarnation: Incarnation,
    /// Raised each time another VM becomes the relay of this Envoy. A poll with a higher term ends the polls of lower ones.
    #[serde(default)]
    pub term: u64,
}

/// A point in the control plane's history.
///
/// `n` is comparable only within one `instance`; `instance` is new at every start and takeover of a control plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// Random name of one life of the control plane.
    pub instance: String,
    /// Counts changes to what is published, from 1.
    pub n: u64,
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_name_is_shown_as_it_stands_on_the_wire() {
        let id = TargetId::new("shop/web");
        assert_eq!((id.as_str(), id.to_string().as_str()), ("shop/web", "shop/web"));
        let incarnation = Incarnation::from_random(0xab);
        assert_eq!(incarnation.as_str(), "00000000000000ab");
        assert_eq!(incarnation.to_string(), "00000000000000ab");
    }
}
