//! Which proxies are known, in a ConfigMap beside the Lease, for the replica that leads next.
//!
//! Written by the leader alone: each write asks the fence first and names the version that it replaces. What a former
//! leader has still written meanwhile is remembered, not lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use fleet::known::Known;
use fleet_actor::known::Store;
use fleet_actor::{Fence, FleetHandle};

/// Most bytes that are written: below what etcd takes of one object, 1.5 MiB, and a thousand proxies with the longest names
/// have half of it.
const MAX_BYTES: usize = 1 << 20;

/// The only key of the ConfigMap.
const KEY: &str = "proxies";

/// Longest read or write, if the lease does not end sooner.
const LONGEST: Duration = Duration::from_secs(5);

/// Reads before a takeover goes on without: requests are held meanwhile.
const READS: u32 = 3;
/// Between two of them.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// The ConfigMap.
pub(super) struct KnownProxies {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
    fence: Fence,
    /// The fleet that is to wait for proxies that a former leader has written down late.
    fleet: FleetHandle,
    /// As it was last seen; `None`: it was not there.
    stored: Mutex<Option<ObjectMeta>>,
}

impl KnownProxies {
    /// Beside the Lease `namespace/lease`, under its name and `-proxies`.
    pub(super) fn new(
        client: Client,
        (namespace, lease): (String, String),
        fence: Fence,
        fleet: FleetHandle,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name: format!("{lease}-proxies"),
            fence,
            fleet,
            stored: Mutex::default(),
        }
    }

    async fn get(&self) -> Result<Option<String>, Failure> {
        let found = ask(LONGEST, self.api.get_opt(&self.name)).await?;
        let text = found.as_ref().map(|found| {
            let text = found.data.as_ref().and_then(|data| data.get(KEY));
            text.cloned().ok_or_else(|| format!("it has no key {KEY:?}"))
        });
        self.note(found.map(|found| found.metadata));
        text.transpose().map_err(Failure::Final)
    }

    fn note(&self, stored: Option<ObjectMeta>) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }

    fn version(&self) -> Option<String> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.as_ref().and_then(|stored| stored.resource_version.clone())
    }

    /// A write of `sent` has failed: true if it is there all the same. A proxy that another replica has written is waited for.
    async fn look_again(&self, sent: &str) -> Result<bool, Failure> {
        let before = self.version();
        let text = self.get().await?;
        if text.as_deref() == Some(sent) {
            return Ok(true);
        }
        if let Some(text) = text.filter(|_| self.version() != before) {
            let known = Known::decode(&text).unwrap_or_else(|_| Known::unreadable());
            let remembered = self.fleet.remember(known).await;
            remembered.map_err(|gone| Failure::Final(gone.to_string()))?;
        }
        Ok(false)
    }
}

impl Store for KnownProxies {
    fn place(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }

    fn max_bytes(&self) -> usize {
        MAX_BYTES
    }

    async fn read(&self) -> Result<Option<String>, String> {
        for _ in 1..READS {
            match self.get().await {
                Ok(text) => return Ok(text),
                Err(Failure::Final(why)) => return Err(why),
                Err(Failure::Passing(_)) => sleep(READ_AGAIN).await,
            }
        }
        self.get().await.map_err(Failure::into_text)
    }

    async fn write(&self, text: String) -> Result<(), String> {
        let Some(budget) = self.fence.write_budget() else {
            return Err("the lease may be over".to_owned());
        };
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_new = stored.is_none();
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                managed_fields: None,
                ..stored.unwrap_or_default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), text.clone())])),
            ..ConfigMap::default()
        };
        let post = PostParams::default();
        let within = budget.min(LONGEST);
        let written = if is_new {
            ask(within, self.api.create(&post, &object)).await
        } else {
            ask(within, self.api.replace(&self.name, &post, &object)).await
        };
        match written {
            Ok(written) => {
                self.note(Some(written.metadata));
                Ok(())
            }
            Err(failure) => match self.look_again(&text).await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(failure.into_text()),
            },
        }
    }
}

/// Why it did not go, for people.
enum Failure {
    /// It may go the next time.
    Passing(String),
    /// It will go on failing until a person changes something.
    Final(String),
}

impl Failure {
    fn into_text(self) -> String {
        match self {
            Self::Passing(text) | Self::Final(text) => text,
        }
    }
}

async fn ask<T>(within: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(within, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(Failure::Final(format!(
            "{}: it takes get, create and update on configmaps",
            status.message
        ))),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Passing(status.message.clone())),
        Ok(Err(error)) => Err(Failure::Passing(error.to_string())),
        Err(_) => Err(Failure::Passing(
            "the API server has not answered in time".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
