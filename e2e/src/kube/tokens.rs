//! Kubeconfigs, with certificates or with tokens of service accounts.

use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// Longer than any test.
const VALID_FOR: i64 = 24 * 3600;

/// Where the API server is, and the authority that has signed its certificate.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) url: String,
    /// Path of a PEM file.
    pub(super) authority: String,
}

impl Server {
    /// Writes `NAME.kubeconfig` (JSON, which is YAML) for a user with these credentials.
    pub(super) fn write_kubeconfig(&self, dir: &Path, name: &str, user: &Value) -> PathBuf {
        let cluster = json!({"server": self.url, "certificate-authority": self.authority});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name, "namespace": "default"}}],
        });
        let path = dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

/// Asks for tokens of service accounts.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) admin: Client,
    pub(super) server: Server,
    pub(super) dir: PathBuf,
}

impl Tokens {
    /// Path of a kubeconfig with a fresh token. Panics if there is no such account.
    pub(super) async fn kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(VALID_FOR),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts = Api::<ServiceAccount>::namespaced(self.admin.clone(), namespace);
        let token = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("no token for {namespace}/{account}: {error}"));
        let token = token.status.expect("a token in the answer").token;
        let user = json!({"token": token});
        self.server
            .write_kubeconfig(&self.dir, &format!("{namespace}-{account}"), &user)
    }
}
