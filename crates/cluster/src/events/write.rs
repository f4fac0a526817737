//! One write of one Event: it is about the ScaleTarget, and never folded into one that is there.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Resource};

use super::told::Told;
use crate::crd::ScaleTarget;

/// The component that reports.
const CONTROLLER: &str = "holdfast.dev/control-plane";
/// Longest name of a replica that the API server takes, in bytes.
const MAX_INSTANCE: usize = 128;

/// Writes Events, one for each thing that is told.
///
/// `kube::runtime::events::Recorder` folds by reason and keeps the first text: a second failure would be told with
/// the first one's reason.
pub(super) struct EventRecorder {
    client: Client,
    instance: String,
}

impl EventRecorder {
    /// Writes in the name of `instance`.
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let end = instance.floor_char_boundary(MAX_INSTANCE);
        Self {
            client,
            instance: instance.get(..end).unwrap_or_default().to_owned(),
        }
    }

    /// Writes one about the object with this uid.
    pub(super) async fn write(&self, told: &Told, uid: &str) -> kube::Result<()> {
        let Some((namespace, name)) = told.target.as_str().split_once('/') else {
            return Ok(());
        };
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let event = self.event(told, (namespace, name, uid), Timestamp::now());
        events.create(&PostParams::default(), &event).await.map(drop)
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
