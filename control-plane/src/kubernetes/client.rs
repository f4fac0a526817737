//! The one client of the API server: where the cluster is and who we are, from the environment.

use anyhow::Context;
use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::{Client, Config};

/// Our name, in `user-agent` and in the audit log.
const AGENT: &str = concat!("holdfast-control-plane/", env!("CARGO_PKG_VERSION"));

/// Where a pod finds the name of its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// A client for the cluster of `KUBECONFIG`, else of `~/.kube/config`, else for the one it runs in. Nothing is asked of
/// the API server yet.
///
/// # Errors
/// No configuration found, or one that cannot be used.
pub async fn connect() -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no cluster: neither KUBECONFIG nor a service account can be used")?;
    // A write that is sent again unseen could be written twice: whoever asks decides what is asked again.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config).context("the cluster's configuration cannot be used")
}

/// The namespace of the Lease: as given, else the pod's own, else where the manifests put us.
pub fn lease_namespace(given: Option<String>) -> String {
    let own = || std::fs::read_to_string(OWN_NAMESPACE).ok();
    given
        .or_else(own)
        .map(|namespace| namespace.trim().to_owned())
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| "holdfast-system".to_owned())
}

/// This replica's name in the Lease: as given, else the host's, with a suffix that tells two lives on one host apart.
pub fn identity(given: Option<String>, suffix: u64) -> String {
    given.unwrap_or_else(|| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "control-plane".to_owned());
        format!("{host}_{suffix:016x}")
    })
}
