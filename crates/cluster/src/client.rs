//! The one client of the API server: the cluster's address and our account are taken from the environment.

use std::time::Duration;

use anyhow::Context;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};

/// Our name, in `user-agent` and in the audit log.
const AGENT: &str = concat!("holdfast-control-plane/", env!("CARGO_PKG_VERSION"));

/// Longest silence in the midst of an answer, or before it. More than a watch is silent for, which is ended by the API
/// server after a minute; without it a list or a watch that is begun on a dead connection would wait for ever.
const SILENCE: Duration = Duration::from_secs(75);

/// Where a pod finds the name of its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// A client for the cluster of `KUBECONFIG`, else of `~/.kube/config`, else for the one it runs in. Nothing is asked of
/// the API server yet.
///
/// # Errors
/// No configuration found, or one that cannot be used.
pub async fn connect() -> anyhow::Result<Client> {
    let config = Config::infer()
        .await
        .context("no cluster: neither KUBECONFIG nor a service account can be used")?;
    client(config).context("the cluster's configuration cannot be used")
}

fn client(mut config: Config) -> kube::Result<Client> {
    config.read_timeout = Some(SILENCE);
    // A connection may have lain unused for longer than that.
    config.reset_reader_on_write = true;
    // A write that is sent again unseen could be written twice: the caller decides what is asked again.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config)
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::Api;
    use kube::api::ListParams;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_ever_for_a_server_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let client = client(Config::new(uri.parse().unwrap())).unwrap();
        // Taken by the kernel, and never read from.
        let begun = Instant::now();
        let services = Api::<Service>::all(client);
        let listed = timeout(SILENCE * 2, services.list(&ListParams::default())).await;
        assert!(matches!(listed, Ok(Err(_))), "must give up");
        assert!(
            begun.elapsed() >= SILENCE,
            "must wait for as long as a watch may be silent"
        );
    }
}
