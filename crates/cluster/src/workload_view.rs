//! What one reconciler knows of its target, put together and told to the fleet when it has changed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use protocol::TargetId;
use tokio::time::{Instant, sleep_until};

use super::context::Context;
use super::failure::{self, Failure};
use super::index::{Facts, Follower, Found};
use super::names::Key;
use super::observe::{Known, Workload, observed};
use super::pods::Pods;
use super::resource::Scalable;
use super::scale::{Done, Outcome, Scale};
use fleet::command::Sighting;
use fleet::config::ScaleTarget;
use fleet::lifecycle::Observed;
use fleet_actor::Gone;

/// Before a scale that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// Longest that a watch is behind a write: one that has died unnoticed is found out after 65 s, and may have to be listed
/// anew. Versions that it has not reached by then are of another history: the cluster's store was restored from a backup.
const BEHIND: Duration = Duration::from_secs(180);

/// What is known of one target.
pub(super) struct WorkloadView {
    id: TargetId,
    facts: Follower,
    /// Its Pods, watched while replicas are wanted and none is ready.
    pods: Option<Pods>,
    /// The newest that was read or written through the scale subresource.
    scale: Option<Scale>,
    /// Until then `scale` is what we wrote or found when we carried an order out, and the watch may be behind it.
    floor: Option<Instant>,
    /// Generation of the object when `scale` was read, for kinds whose object does not tell its replicas.
    scale_at: Option<i64>,
    /// Replicas that we set last.
    ours: Option<u32>,
    /// Why an order cannot be carried out.
    trouble: Option<Failure>,
    /// Number of the last order that was carried out.
    command: u64,
    told: Option<Observed>,
    look_again: Option<Instant>,
}

impl WorkloadView {
    pub(super) fn new(context: &Context, spec: &ScaleTarget) -> Self {
        Self {
            id: spec.id.clone(),
            facts: context.index.follow(spec),
            pods: None,
            scale: None,
            floor: None,
            scale_at: None,
            ours: None,
            trouble: None,
            command: 0,
            told: None,
            look_again: None,
        }
    }

    /// Follows what `spec` refers to.
    pub(super) fn turn_to(&mut self, context: &Context, spec: &ScaleTarget) {
        let facts = context.index.follow(spec);
        if facts.same_channel(&self.facts) {
            return;
        }
        if self.id != spec.id {
            // The same workload under another name: what is known of it stands, and is told to the name.
            self.id = spec.id.clone();
            self.facts = facts;
            self.told = None;
            return;
        }
        let (command, told) = (self.command, self.told.take());
        *self = Self {
            facts,
            command,
            told,
            ..Self::new(context, spec)
        };
    }

    /// Number of the last order that was carried out.
    pub(super) fn command(&self) -> u64 {
        self.command
    }

    pub(super) fn scalable(&self) -> Option<Arc<Scalable>> {
        self.facts.borrow().scalable.clone()
    }

    /// True if there is no use in trying to write. `asks`: the API server can be asked for the scale, so whether the
    /// object is there is for it to say, and it is written as soon as it is.
    pub(super) fn is_unusable(&self, asks: bool) -> bool {
        match &self.facts.borrow().workload {
            Found::Unusable(failure) => !asks || failure.kind != failure::Kind::WorkloadNotFound,
            Found::Unread | Found::There(_) => false,
        }
    }

    /// The order `command` has been carried out, or cannot be.
    pub(super) fn obey(&mut self, command: u64, done: Option<Done>) {
        self.command = command;
        if let Some(Done { outcome, scale }) = done {
            if outcome == Outcome::Written {
                self.ours = Some(scale.replicas);
            }
            self.scale = Some(scale);
            self.floor = Some(Instant::now() + BEHIND);
            self.scale_at = None;
        }
    }

    /// Why an order cannot be carried out.
    pub(super) fn trouble(&mut self, failure: Option<Failure>) {
        self.trouble = failure;
    }

    /// The object's generation, if the scale subresource must be asked: the object itself does not tell its replicas.
    pub(super) fn needs_scale(&self) -> Option<i64> {
        let facts = self.facts.borrow();
        let Found::There(workload) = &facts.workload else {
            return None;
        };
        let waits = self.trouble.is_some() && self.look_again.is_some_and(|at| at > Instant::now());
        let known = workload.replicas.is_some() || self.scale_at == Some(workload.generation);
        (!waits && !known && !self.is_ahead(workload)).then_some(workload.generation)
    }

    /// The scale subresource was read, at `generation` or later.
    pub(super) fn take_scale(&mut self, generation: i64, read: Result<Scale, Failure>) {
        match read {
            Ok(scale) => {
                self.scale_at = Some(generation);
                self.scale = Some(scale);
                self.floor = None;
                self.trouble = None;
            }
            Err(failure) => {
                self.trouble = Some(failure);
                self.look_again = Some(Instant::now() + READ_AGAIN);
            }
        }
    }

    /// Waits until there is something new to be told.
    pub(super) async fn changed(&mut self) {
        let pods = async {
            match &mut self.pods {
                Some(pods) => pods.changed().await,
                None => std::future::pending().await,
            }
        };
        let time = async {
            match self.look_again {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.facts.changed() => if changed.is_err() {
                // Another reconciler follows in its place: this one is about to be dropped.
                std::future::pending().await
            },
            () = pods => {}
            () = time => self.look_again = None,
        }
    }

    /// Tells the fleet what is seen, if that is news.
    pub(super) async fn tell(&mut self, context: &Context) -> Result<(), Gone> {
        let facts = self.facts.borrow_and_update().clone();
        self.mind_floor(&facts);
        let Some(seen) = self.look(context, &facts) else {
            return Ok(());
        };
        self.mind_pods(context, &facts, &seen);
        if self.told.as_ref() == Some(&seen) {
            return Ok(());
        }
        self.told = Some(seen.clone());
        let id = self.id.clone();
        context.fleet.observe(Sighting { id, seen }).await
    }

    /// `None` as long as the workload has not been read.
    fn look(&mut self, context: &Context, facts: &Facts) -> Option<Observed> {
        let (workload, trouble) = match &facts.workload {
            Found::Unread => return None,
            Found::Unusable(failure) => (None, Some(failure)),
            Found::There(workload) => (Some(self.up_to_date(workload)), self.trouble.as_ref()),
        };
        let known = Known {
            workload: workload.as_ref(),
            scale: self.scale.as_ref().map(|scale| scale.replicas),
            endpoints: facts.endpoints,
            trouble,
            ours: self.ours,
            command: self.command,
        };
        let pods = self.pods.as_mut().map(Pods::facts);
        let now = Timestamp::now();
        let seen = observed(
            known,
            pods.iter().flat_map(|pods| pods.iter()),
            now,
            context.unschedulable_grace,
        );
        if let Some(at) = seen.look_again {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            let at = Instant::now() + wait;
            self.look_again = Some(self.look_again.map_or(at, |other| other.min(at)));
        }
        Some(seen.observed)
    }

    /// The workload as it is since our last write, while the watch has not shown it yet.
    fn up_to_date(&self, workload: &Workload) -> Workload {
        match &self.scale {
            Some(scale) if self.is_ahead(workload) => Workload {
                version: scale.version.clone(),
                replicas: Some(scale.replicas),
                failure: None,
                set_by: None,
                ..workload.clone()
            },
            _ => workload.clone(),
        }
    }

    /// True if we have written or read something that `workload` does not show yet.
    fn is_ahead(&self, workload: &Workload) -> bool {
        let written = self.scale.as_ref().filter(|_| self.floor.is_some());
        written.is_some_and(|scale| !workload.version.reaches(&scale.version))
    }

    /// What was written goes before what the watch shows, until that has caught up.
    fn mind_floor(&mut self, facts: &Facts) {
        let Some(until) = self.floor else { return };
        let behind = matches!(&facts.workload, Found::There(workload) if self.is_ahead(workload));
        if !behind || Instant::now() >= until {
            self.floor = None;
        } else {
            self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
        }
    }

    fn mind_pods(&mut self, context: &Context, facts: &Facts, seen: &Observed) {
        if seen.replicas == 0 || seen.ready > 0 {
            self.pods = None;
            return;
        }
        if self.pods.is_some() {
            return;
        }
        let Found::There(workload) = &facts.workload else {
            return;
        };
        let of_scale = self.scale.as_ref().and_then(|scale| scale.selector.as_deref());
        if let Some(selector) = workload.selector.as_deref().or(of_scale) {
            let namespace = Key::of_target(&self.id).namespace;
            self.pods = Some(context.pods.open(&namespace, selector));
        }
    }
}
