//! What a reconciler is told of its target's workload and endpoints.

use std::sync::Arc;

use crate::failure::Failure;
use crate::observe::{Endpoints, Workload};
use crate::resource::Scalable;

/// What is known of what one target refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How workloads of its kind are scaled, once that is known.
    pub scalable: Option<Arc<Scalable>>,
    /// Its workload.
    pub workload: Found,
    /// Endpoints of its Service.
    pub endpoints: Endpoints,
}

/// What is known of a workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It has not been read yet.
    Unread,
    /// There is none, or it cannot be used.
    Unusable(Failure),
    /// It is there.
    There(Workload),
}
