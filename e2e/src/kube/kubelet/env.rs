//! A container's environment, with the config maps and secrets that it names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client};

use super::container::{expand, localise};

/// The variables, or why there are none in the kubelet's words, such as `configmap "web" not found`.
pub(super) async fn resolve(
    client: &Client,
    pod: &Pod,
    container: &Container,
    ip: Ipv4Addr,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::from([("POD_IP".to_owned(), ip.to_string())]);
    let name = pod.metadata.name.clone().unwrap_or_default();
    env.insert("HOSTNAME".to_owned(), name);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let store = Store { client, namespace };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let values = if let Some(map) = &source.config_map_ref {
            store.config_map(&map.name, map.optional).await?
        } else if let Some(secret) = &source.secret_ref {
            store.secret(&secret.name, secret.optional).await?
        } else {
            None
        };
        env.extend(
            values
                .into_iter()
                .flatten()
                .map(|(key, value)| (format!("{prefix}{key}"), value)),
        );
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(localise(&expand(value, &env), ip)),
            (None, Some(source)) => store.value(source, pod, ip).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

/// The config maps and secrets of a namespace.
pub(super) struct Store<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
}

/// `None`: it is absent, and may be.
type Values = Option<BTreeMap<String, String>>;

impl Store<'_> {
    /// `None`: it is absent, and may be.
    async fn value(&self, source: &EnvVarSource, pod: &Pod, ip: Ipv4Addr) -> Result<Option<String>, String> {
        if let Some(field) = &source.field_ref {
            return Ok(Some(field_of(pod, &field.field_path, ip)));
        }
        let (kind, values, name, key, optional) = if let Some(map) = &source.config_map_key_ref {
            let values = self.config_map(&map.name, map.optional).await?;
            ("configmap", values, &map.name, &map.key, map.optional)
        } else if let Some(secret) = &source.secret_key_ref {
            let values = self.secret(&secret.name, secret.optional).await?;
            ("secret", values, &secret.name, &secret.key, secret.optional)
        } else {
            return Ok(None);
        };
        match values.and_then(|values| values.get(key).cloned()) {
            None if optional != Some(true) => Err(format!(
                "couldn't find key {key} in {kind} {}/{name}",
                self.namespace
            )),
            value => Ok(value),
        }
    }

    pub(super) async fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Values, String> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(map) => Ok(Some(map.data.unwrap_or_default())),
            None if optional == Some(true) => Ok(None),
            None => Err(format!("configmap {name:?} not found")),
        }
    }

    pub(super) async fn secret(&self, name: &str, optional: Option<bool>) -> Result<Values, String> {
        let api = Api::<Secret>::namespaced(self.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(secret) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let data = secret.data.unwrap_or_default();
                Ok(Some(
                    data.into_iter()
                        .map(|(key, value)| (key, text(&value.0)))
                        .collect(),
                ))
            }
            None if optional == Some(true) => Ok(None),
            None => Err(format!("secret {name:?} not found")),
        }
    }
}

fn field_of(pod: &Pod, path: &str, ip: Ipv4Addr) -> String {
    let of = |value: &Option<String>| value.clone().unwrap_or_default();
    match path {
        "metadata.name" => of(&pod.metadata.name),
        "metadata.namespace" => of(&pod.metadata.namespace),
        "metadata.uid" => of(&pod.metadata.uid),
        "status.podIP" => ip.to_string(),
        "status.hostIP" => "127.0.0.1".to_owned(),
        "spec.nodeName" => super::NODE.to_owned(),
        "spec.serviceAccountName" => pod
            .spec
            .as_ref()
            .map(|spec| of(&spec.service_account_name))
            .unwrap_or_default(),
        path => panic!("the kubelet of the tests does not know the field {path}"),
    }
}
