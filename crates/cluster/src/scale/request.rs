//! Reads and writes the scale subresource: one request each, none sent again unseen.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1 as api;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, Request};
use kube::{Client, Resource};

use super::Scale;
use crate::observe::{MANAGER, Version};
use fleet::time::millis;

/// The scale subresource of one object, whatever its kind.
pub(super) struct Subresource {
    client: Client,
    kind: String,
    namespace: String,
    name: String,
    path: String,
}

/// What was read, and what it takes to write it back.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) scale: Scale,
    object: api::Scale,
}

impl Subresource {
    pub(super) fn new(client: Client, resource: &ApiResource, namespace: &str, name: &str) -> Self {
        Self {
            client,
            kind: resource.kind.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: DynamicObject::url_path(resource, Some(namespace)),
        }
    }

    pub(super) async fn read(&self) -> Result<Read, kube::Error> {
        let request = Request::new(&*self.path).get_subresource("scale", &self.name);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let object: api::Scale = self.client.request(request).await?;
        Ok(Read {
            scale: reduce(&object),
            object,
        })
    }

    /// Writes `replicas` in the place of what was read, if that is still there: the object, its UID and its version go
    /// back as they came. The API server, too, gives it up after `longest`.
    pub(super) async fn write(
        &self,
        read: Read,
        replicas: u32,
        longest: Duration,
    ) -> Result<Scale, kube::Error> {
        let mut object = read.object;
        object.spec = Some(api::ScaleSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
        });
        let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
        let params = PostParams {
            dry_run: false,
            field_manager: Some(MANAGER.to_owned()),
        };
        let mut request = Request::new(&*self.path)
            .replace_subresource("scale", &self.name, &params, body)
            .map_err(kube::Error::BuildRequest)?;
        let uri = format!("{}&timeout={}ms", request.uri(), millis(longest));
        *request.uri_mut() = uri.parse().map_err(|_| {
            kube::Error::BuildRequest(kube::core::request::Error::Validation(format!("no URI: {uri}")))
        })?;
        let object: api::Scale = self.client.request(request).await?;
        Ok(reduce(&object))
    }
}

/// Such as `Deployment shop/web`.
impl fmt::Display for Subresource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn reduce(object: &api::Scale) -> Scale {
    // Zero is left out on the wire.
    let replicas = object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let selector = object.status.as_ref().and_then(|status| status.selector.clone());
    Scale {
        version: Version::new(object.metadata.resource_version.clone().unwrap_or_default()),
        replicas: u32::try_from(replicas).unwrap_or(0),
        // An empty selector would select everything.
        selector: selector.filter(|selector| !selector.is_empty()),
    }
}
