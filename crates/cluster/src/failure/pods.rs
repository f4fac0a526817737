//! Reads from one Pod's containers and conditions why it cannot start.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{Failure, Kind, class, words};

/// No node takes a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unscheduled {
    /// Since when, by the clock of the controller that said so. `None`: not said.
    pub since: Option<Timestamp>,
    /// What it says.
    pub failure: Failure,
}

/// Why a container of `pod` cannot start; init containers are first.
pub(in super::super) fn of_containers(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let all = init.chain(status.container_statuses.iter().flatten());
    all.filter_map(|container| of_container(pod, container))
        .min_by_key(|failure| failure.kind)
}

fn of_container(pod: &Pod, container: &ContainerStatus) -> Option<Failure> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let (kind, what) = match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => (Kind::Image, image(pod, container, waiting)),
        "CreateContainerConfigError" | "CreateContainerError" | "PreCreateHookError" => {
            (Kind::Create, message("cannot be created", waiting))
        }
        "RunContainerError" | "PreStartHookError" | "PostStartHookError" | "StartError" => {
            (Kind::Create, message("cannot be started", waiting))
        }
        "CrashLoopBackOff" => (Kind::CrashLoop, crash(container)),
        _ => return None,
    };
    let text = format!("Pod {}: container {}: {what}", pod.name_any(), container.name);
    let class = class::of_container(container, waiting);
    Some(Failure::new(kind, &text).classed(class))
}

fn image(pod: &Pod, container: &ContainerStatus, waiting: &ContainerStateWaiting) -> String {
    let spec = pod.spec.as_ref();
    let init = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let declared = init
        .chain(spec.into_iter().flat_map(|spec| &spec.containers))
        .find(|declared| declared.name == container.name)
        .and_then(|declared| declared.image.as_deref());
    let image = declared.unwrap_or(&container.image);
    let why = match waiting.reason.as_deref() {
        Some("InvalidImageName") => Some("its name is not valid"),
        Some("ErrImageNeverPull") => Some("it is not on the node, and its pull policy is Never"),
        Some("RegistryUnavailable") => Some("its registry cannot be reached"),
        _ => waiting.message.as_deref().and_then(words::last_cause),
    };
    match why {
        Some(why) => format!("image {image} cannot be pulled: {why}"),
        None => format!("image {image} cannot be pulled"),
    }
}

fn message(what: &str, waiting: &ContainerStateWaiting) -> String {
    match waiting.message.as_deref() {
        Some(message) => format!("{what}: {message}"),
        None => what.to_owned(),
    }
}

/// How it ended. Not its termination message: a container writes that itself, and this goes to clients.
fn crash(container: &ContainerStatus) -> String {
    let last = container
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    let restarts = match container.restart_count {
        1 => "1 restart".to_owned(),
        n => format!("{n} restarts"),
    };
    match last {
        Some(last) => format!("it ends again and again: {}, {restarts}", end(last)),
        None => format!("it ends again and again: {restarts}"),
    }
}

fn end(last: &ContainerStateTerminated) -> String {
    let how = match last.signal {
        Some(signal) if signal != 0 => format!("signal {signal}"),
        _ => format!("exit code {}", last.exit_code),
    };
    match last.reason.as_deref() {
        // What the exit code says already.
        None | Some("" | "Error" | "Completed") => how,
        Some(reason) => format!("{reason} ({how})"),
    }
}

/// That no node takes `pod`.
pub(in super::super) fn of_scheduling(pod: &Pod) -> Option<Unscheduled> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let why = condition.message.as_deref().or(condition.reason.as_deref());
    let text = format!(
        "Pod {}: no node takes it: {}",
        pod.name_any(),
        why.unwrap_or("the scheduler gives no reason")
    );
    Some(Unscheduled {
        since: condition.last_transition_time.as_ref().map(|time| time.0),
        failure: Failure::new(Kind::Unschedulable, &text),
    })
}
