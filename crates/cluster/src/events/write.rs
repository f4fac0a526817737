use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use protocol::TargetId;
use serde_json::json;

use super::told::Told;
use crate::crd::ScaleTarget;

/// Who writes.
const CONTROLLER: &str = "holdfast.dev/control-plane";
/// Longest name of a replica that the API server takes, in bytes.
const MAX_INSTANCE: usize = 128;
/// An Event that repeats one not older than this is folded into it, as in `kubectl`'s own recorder.
const SERIES: SignedDuration = SignedDuration::from_mins(6);

/// Writes Events; those that say the same of one target again are folded into a series.
///
/// `kube::runtime::events::Recorder` folds by reason alone and keeps the first text: a second failure would be told with
/// the first one's reason.
pub(super) struct Book {
    client: Client,
    instance: String,
    /// What may be repeated. No more than are written within [`SERIES`], which `Limits` bounds.
    written: BTreeMap<(TargetId, &'static str, String), Written>,
}

struct Written {
    name: String,
    count: i32,
    at: Timestamp,
}

impl Book {
    /// Nothing written yet.
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let end = (0..=MAX_INSTANCE.min(instance.len()))
            .rev()
            .find(|at| instance.is_char_boundary(*at));
        Self {
            client,
            instance: instance.get(..end.unwrap_or(0)).unwrap_or_default().to_owned(),
            written: BTreeMap::new(),
        }
    }

    /// Writes one about the object with this uid.
    pub(super) async fn write(&mut self, told: &Told, uid: &str) -> kube::Result<()> {
        let now = Timestamp::now();
        self.written.retain(|_, written| written.at + SERIES > now);
        let Some((namespace, name)) = told.target.as_str().split_once('/') else {
            return Ok(());
        };
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let key = (told.target.clone(), told.reason, told.text.clone());
        if let Some(written) = self.written.get_mut(&key) {
            written.count += 1;
            written.at = now;
            let series = EventSeries {
                count: written.count,
                last_observed_time: MicroTime(now),
            };
            let patch = Patch::Merge(json!({"series": series}));
            match events.patch(&written.name, &PatchParams::default(), &patch).await {
                // Somebody has deleted it: it is told anew.
                Err(kube::Error::Api(status)) if status.is_not_found() => drop(self.written.remove(&key)),
                patched => return patched.map(drop),
            }
        }
        let event = self.event(told, (namespace, name, uid), now);
        let written = Written {
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
            at: now,
        };
        events.create(&PostParams::default(), &event).await?;
        self.written.insert(key, written);
        Ok(())
    }

    fn event(&self, told: &Told, (namespace, name, uid): (&str, &str, &str), now: Timestamp) -> Event {
        let some = |text: &str| Some(text.to_owned());
        Event {
            metadata: ObjectMeta {
                // As `kubectl`'s own recorder names them.
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: some(namespace),
                ..ObjectMeta::default()
            },
            regarding: Some(ObjectReference {
                api_version: Some(ScaleTarget::api_version(&()).into_owned()),
                kind: Some(ScaleTarget::kind(&()).into_owned()),
                namespace: some(namespace),
                name: some(name),
                uid: some(uid),
                ..ObjectReference::default()
            }),
            type_: some(if told.warning { "Warning" } else { "Normal" }),
            reason: some(told.reason),
            action: some(told.action),
            note: some(&told.text),
            event_time: Some(MicroTime(now)),
            reporting_controller: some(CONTROLLER),
            reporting_instance: some(&self.instance),
            ..Event::default()
        }
    }
}
