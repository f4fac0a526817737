//! A pod's status as a kubelet reports it. No I/O; times are given.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// What the first container does. The others, which are not run, are said to do the same.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Waiting { reason: String, message: String },
    Running { since: Timestamp },
    Ended(Ended),
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) since: Timestamp,
    pub(super) at: Timestamp,
}

/// Everything that a status says.
pub(super) struct Report {
    /// Name and image of each container.
    containers: Vec<(String, String)>,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) unschedulable: Option<String>,
    pub(super) doing: Doing,
    pub(super) ready: bool,
    pub(super) restarts: i32,
    pub(super) last: Option<Ended>,
    has_run: bool,
    since: Timestamp,
    /// The last ones, so that a transition's time stays while nothing changes.
    conditions: Vec<PodCondition>,
}

impl Report {
    pub(super) fn new(spec: &PodSpec, now: Timestamp) -> Self {
        let image = |image: &Option<String>| image.clone().unwrap_or_default();
        Self {
            containers: spec
                .containers
                .iter()
                .map(|container| (container.name.clone(), image(&container.image)))
                .collect(),
            ip: None,
            unschedulable: None,
            doing: Doing::Waiting {
                reason: "ContainerCreating".into(),
                message: String::new(),
            },
            ready: false,
            restarts: 0,
            last: None,
            has_run: false,
            since: now,
            conditions: Vec::new(),
        }
    }

    /// The status to write now.
    pub(super) fn status(&mut self, now: Timestamp) -> PodStatus {
        self.has_run |= !matches!(self.doing, Doing::Waiting { .. });
        self.conditions = self.conditions_now(now);
        let scheduled = self.unschedulable.is_none();
        let ip = self.ip.map(|ip| ip.to_string());
        PodStatus {
            phase: Some(if self.has_run { "Running" } else { "Pending" }.to_owned()),
            conditions: Some(self.conditions.clone()),
            container_statuses: scheduled
                .then(|| self.containers.iter().map(|c| self.container(c)).collect()),
            host_ip: scheduled.then(|| "127.0.0.1".to_owned()),
            pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
            pod_ip: ip,
            start_time: scheduled.then_some(Time(self.since)),
            ..PodStatus::default()
        }
    }

    fn conditions_now(&self, now: Timestamp) -> Vec<PodCondition> {
        if let Some(message) = &self.unschedulable {
            return vec![self.condition("PodScheduled", false, "Unschedulable", message, now)];
        }
        let names: Vec<&str> = self.containers.iter().map(|(name, _)| name.as_str()).collect();
        let unready = format!("containers with unready status: [{}]", names.join(" "));
        let (reason, message) = if self.ready {
            ("", "")
        } else {
            ("ContainersNotReady", unready.as_str())
        };
        vec![
            self.condition("Initialized", true, "", "", now),
            self.condition("Ready", self.ready, reason, message, now),
            self.condition("ContainersReady", self.ready, reason, message, now),
            self.condition("PodScheduled", true, "", "", now),
        ]
    }

    fn condition(
        &self,
        kind: &str,
        status: bool,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> PodCondition {
        let status = if status { "True" } else { "False" };
        let last = self
            .conditions
            .iter()
            .find(|last| last.type_ == kind && last.status == status);
        let since = last.and_then(|last| last.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: word(reason),
            message: word(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
            ..PodCondition::default()
        }
    }

    fn container(&self, (name, image): &(String, String)) -> ContainerStatus {
        let mut state = ContainerState::default();
        match &self.doing {
            Doing::Waiting { reason, message } => {
                state.waiting = Some(ContainerStateWaiting {
                    reason: word(reason),
                    message: word(message),
                });
            }
            Doing::Running { since } => {
                state.running = Some(ContainerStateRunning {
                    started_at: Some(Time(*since)),
                });
            }
            Doing::Ended(ended) => state.terminated = Some(terminated(ended)),
        }
        ContainerStatus {
            name: name.clone(),
            image: image.clone(),
            image_id: String::new(),
            container_id: self.has_run.then(|| format!("process://{name}")),
            ready: self.ready,
            started: Some(matches!(self.doing, Doing::Running { .. })),
            restart_count: self.restarts,
            state: Some(state),
            last_state: self.last.as_ref().map(|ended| ContainerState {
                terminated: Some(terminated(ended)),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(if ended.code == 0 { "Completed" } else { "Error" }.to_owned()),
        started_at: Some(Time(ended.since)),
        finished_at: Some(Time(ended.at)),
        ..ContainerStateTerminated::default()
    }
}

fn word(word: &str) -> Option<String> {
    (!word.is_empty()).then(|| word.to_owned())
}
