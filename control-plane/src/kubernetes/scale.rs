//! Writes replicas through the scale subresource: up from zero, down to zero, never anything else.

use std::num::NonZeroU32;

use kube::Client;

use super::failure::Failure;
use super::lease::Fence;
use super::observe::Version;
use super::resource::Scalable;
use crate::metrics::Metrics;

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From zero to this many; more than zero stand as they are.
    Up(NonZeroU32),
    /// To zero, if there are as many as this; others stand as they are.
    Down {
        /// Replicas when it was decided.
        from: u32,
    },
}

/// The scale of a workload, as the API server last gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Of the whole workload object.
    pub version: Version,
    /// Replicas wanted.
    pub replicas: u32,
    /// Label selector of its Pods, if the kind tells.
    pub selector: Option<String>,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What came of it.
    pub outcome: Outcome,
    /// What is there now: wait until the watch shows its version.
    pub scale: Scale,
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, by us.
    Written,
    /// It was so already.
    Already,
    /// Somebody else's replicas stand.
    Abandoned,
}

/// Writes the replicas of one workload. Keep it as long as the workload: it remembers a write whose outcome is not
/// known, also one whose future was dropped.
pub struct Scaler {
    _parts: (Client, Scalable, String, String, Fence, Metrics),
}

impl Scaler {
    /// For the object `name` in `namespace`.
    pub fn new(
        client: Client,
        kind: &Scalable,
        namespace: &str,
        name: &str,
        fence: Fence,
        metrics: Metrics,
    ) -> Self {
        Self {
            _parts: (
                client,
                kind.clone(),
                namespace.to_owned(),
                name.to_owned(),
                fence,
                metrics,
            ),
        }
    }

    /// Carries `order` out, however long that takes: ends only when it is done. May be dropped at any time.
    /// `tell` is called when it finds out why it cannot (for people), and with `None` when that is over.
    pub async fn carry_out(&mut self, _order: Order, mut tell: impl FnMut(Option<Failure>) + Send) -> Done {
        tell(None);
        std::future::pending().await
    }

    /// Reads the scale once.
    ///
    /// # Errors
    /// Why it could not be read, for people.
    pub async fn read(&self) -> Result<Scale, Failure> {
        std::future::pending().await
    }
}
