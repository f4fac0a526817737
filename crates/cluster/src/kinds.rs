//! Watches the workloads of every kind that a target names, for as long as one does.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::DynamicObject;
use kube::{Api, Client};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::failure::{self, Failure};
use super::index::Index;
use super::names::Kind;
use super::resource::{self, Found};
use super::watches::{self, Scope};
use crate::metrics::Metrics;
use fleet::backoff::Backoff;

/// Most kinds at once: each is a watch of all its objects. Few clusters scale more than a few kinds of workloads.
const MAX_KINDS: usize = 32;
/// Before a kind that was not found or cannot be scaled is looked for again: an API server that is only starting does not
/// know its custom kinds yet.
const LOOK_AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// As often the API server may not answer before the kind counts as unusable, so that one that is broken does not keep
/// all others waiting.
const MISSES: u32 = 3;

/// Runs until it is dropped.
pub async fn watch(client: Client, index: Index, metrics: Metrics) {
    let mut changes = index.changes();
    let mut tasks: BTreeMap<Kind, AbortOnDropHandle<()>> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let wanted = index.kinds();
        tasks.retain(|kind, _| {
            let still = wanted.contains(kind);
            if !still {
                index.forget_kind(kind);
            }
            still
        });
        for kind in wanted {
            if tasks.contains_key(&kind) {
                continue;
            }
            if tasks.len() >= MAX_KINDS {
                metrics.bound_hit("kinds");
                index.unusable(&kind, too_many(&kind));
                continue;
            }
            let task = tokio::spawn(watch_kind(client.clone(), index.clone(), kind.clone()));
            tasks.insert(kind, AbortOnDropHandle::new(task));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_kind(client: Client, index: Index, kind: Kind) {
    let mut said = None;
    let (mut looks, mut misses) = (0_u32, 0);
    loop {
        let failure = match resource::find(&client, &kind.api_version, &kind.kind).await {
            Found::Scalable(scalable) => {
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &scalable.resource);
                let what = scalable.resource.plural.clone();
                index.usable(&kind, scalable);
                return watches::watch(&what, api, Scope::default(), |seen| index.workloads(&kind, &seen))
                    .await;
            }
            Found::Not(failure) => failure,
            Found::Unknown(failure) => {
                misses += 1;
                if misses < MISSES {
                    tokio::time::sleep(LOOK_AGAIN.wait(0)).await;
                    continue;
                }
                failure
            }
        };
        if said.replace(failure.clone()).as_ref() != Some(&failure) {
            warn!(event = "kind_unusable", %kind, "{kind}: {}", failure.reason);
            index.unusable(&kind, failure);
        }
        tokio::time::sleep(LOOK_AGAIN.wait(looks)).await;
        looks = looks.saturating_add(1);
    }
}

fn too_many(kind: &Kind) -> Failure {
    let text = format!("{kind} is not watched: targets name more than {MAX_KINDS} kinds of workloads");
    Failure::new(failure::Kind::KindNotScalable, &text)
}
