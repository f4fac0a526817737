//! The one client of the API server: where the cluster is and who we are, from the environment.

use anyhow::Context;
use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::{Client, Config};

/// Our name, in `user-agent` and in the audit log.
const AGENT: &str = concat!("holdfast-control-plane/", env!("CARGO_PKG_VERSION"));

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
