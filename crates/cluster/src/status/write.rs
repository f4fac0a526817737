//! One write of one status: a server-side apply under our name, so that conditions of others stay. (Not in Kubernetes
//! 1.20, where an integer-or-text anywhere in a definition makes all lists atomic.)

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::json;
use thiserror::Error;

use super::ShownTarget;
use crate::crd::{ScaleTarget, ScaleTargetStatus};
use crate::names::Key;

/// Our name in `managedFields`.
const MANAGER: &str = "holdfast";

/// Why a status was not written.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// No answer within the time that the lease left.
    #[error("no answer in time")]
    Late,
    /// Refused, or not reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Error {
    /// True if the object is not there any more, or is another of the same name.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if matches!(status.code, 404 | 409))
    }
}

/// Writes `status` and returns the object as it then is. `uid` makes it fail for another object of the same name.
pub(super) async fn apply(
    client: &Client,
    target: &ShownTarget,
    status: &ScaleTargetStatus,
) -> Result<ShownTarget, Error> {
    let Key { namespace, name } = Key::of_target(&target.id);
    let api: Api<ScaleTarget> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "apiVersion": ScaleTarget::api_version(&()),
        "kind": ScaleTarget::kind(&()),
        "metadata": {"name": name, "namespace": namespace, "uid": target.uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let written = api.patch_status(&name, &params, &Patch::Apply(&patch)).await?;
    Ok(ShownTarget::of(&written))
}
