//! Secrets and config maps that a container mounts, as folders of this machine.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};
use kube::Client;

use super::env::Store;

/// Where a container believes its volumes to be, and where they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    /// Writes what the pod's volumes hold into `dir`. Volumes of other kinds are empty folders.
    ///
    /// # Errors
    ///
    /// What is missing, in the kubelet's words.
    pub(super) async fn make(
        client: &Client,
        pod: &Pod,
        container: &Container,
        dir: &Path,
    ) -> Result<Self, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let store = Store { client, namespace };
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let mut mounts = Vec::new();
        for volume in volumes {
            let path = dir.join(&volume.name);
            std::fs::create_dir_all(&path).unwrap();
            for (name, content) in content(&store, volume).await? {
                std::fs::write(path.join(name), content).unwrap();
            }
            let of_it = container.volume_mounts.iter().flatten();
            let of_it = of_it.filter(|mount| mount.name == volume.name);
            mounts.extend(of_it.map(|mount| (mount.mount_path.clone(), path.clone())));
        }
        Ok(Self(mounts))
    }

    /// Puts the real folder in the place of the mounted one, wherever a word has it.
    pub(super) fn localise(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (mounted, real) in &self.0 {
            word = word.replace(mounted, &real.display().to_string());
        }
        word
    }
}

async fn content(store: &Store<'_>, volume: &Volume) -> Result<Vec<(String, String)>, String> {
    let (values, items) = if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        (store.secret(name, secret.optional).await?, &secret.items)
    } else if let Some(map) = &volume.config_map {
        (store.config_map(&map.name, map.optional).await?, &map.items)
    } else {
        return Ok(Vec::new());
    };
    let values = values.unwrap_or_default();
    let Some(items) = items else {
        return Ok(values.into_iter().collect());
    };
    let pick = |item: &KeyToPath| {
        let value = values.get(&item.key).cloned();
        value
            .map(|value| (item.path.clone(), value))
            .ok_or_else(|| format!("references non-existent key: {}", item.key))
    };
    items.iter().map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_path_is_found_within_a_word() {
        let mounts = Mounts(vec![("/etc/holdfast".into(), "/tmp/x".into())]);
        assert_eq!(
            mounts.localise("--token-file=/etc/holdfast/token"),
            "--token-file=/tmp/x/token"
        );
    }
}
