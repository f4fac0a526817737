//! The Lease on the API server: what an [`Order`] is there, and what comes of it.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use http::StatusCode;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::election::{Command, Order, Outcome, Record, Stored};

/// Longest that one watch is listened to: the API server ends it after 290 s, if it is still there.
const WATCH: Duration = Duration::from_secs(300);

/// A request under way.
pub(super) type Request = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a request went.
pub(super) struct Answer {
    /// For the election.
    pub outcome: Outcome,
    /// As it is stored, with what others have written on it.
    pub lease: Option<Lease>,
    /// It was to be written.
    pub writing: bool,
    /// Why it failed, for people.
    pub failure: Option<String>,
}

/// Where the Lease is.
pub(super) struct Place {
    api: Api<Lease>,
    namespace: String,
    name: String,
}

impl Place {
    /// `namespace/name`.
    pub(super) fn new(client: Client, namespace: String, name: String) -> Self {
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name,
        }
    }

    /// The request, and what came of it. `stored`: the Lease as it is replaced.
    pub(super) fn send(&self, order: Order, stored: Option<&Lease>) -> Request {
        let (api, name, namespace) = (self.api.clone(), self.name.clone(), self.namespace.clone());
        let metadata = stored.map(|lease| lease.metadata.clone());
        Box::pin(async move {
            let post = PostParams::default();
            let writing = order.command != Command::Read;
            let asked = async {
                match order.command {
                    Command::Read => api.get(&name).await,
                    Command::Create(record) => {
                        let metadata = ObjectMeta {
                            name: Some(name.clone()),
                            ..ObjectMeta::default()
                        };
                        api.create(&post, &lease(metadata, record)).await
                    }
                    Command::Update(record, version) => {
                        // What others have written on it stays.
                        let metadata = ObjectMeta {
                            name: Some(name.clone()),
                            resource_version: Some(version),
                            managed_fields: None,
                            ..metadata.unwrap_or_default()
                        };
                        api.replace(&name, &post, &lease(metadata, record)).await
                    }
                }
            };
            let answered = match timeout(order.within, asked).await {
                Ok(answer) => judge(answer, &namespace),
                Err(_) => Err("the API server has not answered in time".to_owned()),
            };
            let (outcome, lease, failure) = match answered {
                Ok((outcome, lease)) => (outcome, lease, None),
                Err(failure) => (Outcome::Failed, None, Some(failure)),
            };
            Answer {
                outcome,
                lease,
                writing,
                failure,
            }
        })
    }

    /// Says each version that is stored, as soon as it is, without asking for it: a lease that is given back is taken at
    /// once. Nothing depends on it; a standby looks now and then all the same.
    pub(super) async fn listen(&self, pause: Duration, versions: watch::Sender<String>) {
        let only = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        loop {
            // From any version: the first event is the Lease as it is.
            let watched = timeout(WATCH, tell_versions(self.api.watch(&only, "0"), &versions)).await;
            if let Ok(Err(e)) = watched {
                debug!("the lease cannot be watched: {e}");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

async fn tell_versions<S>(
    opened: impl Future<Output = kube::Result<S>>,
    versions: &watch::Sender<String>,
) -> kube::Result<()>
where
    S: Stream<Item = kube::Result<WatchEvent<Lease>>>,
{
    let events = opened.await?;
    tokio::pin!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                versions.send_replace(lease.resource_version().unwrap_or_default());
            }
            WatchEvent::Deleted(_) => drop(versions.send_replace(String::new())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => break,
        }
    }
    Ok(())
}
/// How it went, or why it is not known, in one sentence.
fn judge(answer: kube::Result<Lease>, namespace: &str) -> Result<(Outcome, Option<Lease>), String> {
    let status = match answer {
        Ok(lease) => return Ok((Outcome::Stored(stored(&lease)), Some(lease))),
        Err(kube::Error::Api(status)) => status,
        Err(e) => return Err(e.to_string()),
    };
    let no_namespace = status
        .details
        .as_ref()
        .is_some_and(|details| details.kind == "namespaces");
    match StatusCode::from_u16(status.code) {
        Ok(StatusCode::CONFLICT) => Ok((Outcome::Conflict, None)),
        Ok(StatusCode::NOT_FOUND) if no_namespace => {
            Err(format!("there is no namespace {namespace:?} (--lease-namespace)"))
        }
        Ok(StatusCode::NOT_FOUND) => Ok((Outcome::Stored(None), None)),
        Ok(StatusCode::FORBIDDEN) => Err(format!(
            "{}: it takes get, create, update and watch on leases in {namespace:?}",
            status.message
        )),
        _ => Err(status.message.clone()),
    }
}

/// What the API server holds, as the election has it.
fn stored(lease: &Lease) -> Option<Stored> {
    let spec = lease.spec.clone().unwrap_or_default();
    let micros = |time: Option<MicroTime>| time.map_or(0, |MicroTime(at)| at.as_microsecond());
    Some(Stored {
        record: Record {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            seconds: spec
                .lease_duration_seconds
                .map_or(0, |seconds| u64::try_from(seconds).unwrap_or(0)),
            acquired: micros(spec.acquire_time),
            renewed: micros(spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or(0),
        },
        version: lease.resource_version()?,
    })
}

/// The election's record, as the API has it.
fn lease(metadata: ObjectMeta, record: Record) -> Lease {
    let time = |micros| Timestamp::from_microsecond(micros).ok().map(MicroTime);
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: record.holder,
            lease_duration_seconds: Some(i32::try_from(record.seconds).unwrap_or(i32::MAX)),
            acquire_time: time(record.acquired),
            renew_time: time(record.renewed),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}
