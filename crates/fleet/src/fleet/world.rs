//! A fleet under test with its clock, and what it has published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{Incarnation, Proxy, Report, Reporter, Revision, State, Target, TargetId, Usage};

use super::proxies::PollId;
use super::{Effect, Fleet, TargetStatus};
use crate::command::Command;
use crate::lifecycle::{Cause, Observed};
pub(crate) use crate::testing::{id, mk_proxy, mk_settings, mk_spec};
use crate::time::Time;
use crate::view::View;

/// A fleet with its clock, and what it has published.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) now: Time,
    pub(crate) view: View,
    pub(crate) seq: u64,
    /// What the targets' statuses showed when it settled last.
    shown: BTreeMap<TargetId, TargetStatus>,
}

impl World {
    /// One whose start is long past: an hour.
    pub(crate) fn new(names: &[&str]) -> Self {
        Self::with("", names)
    }

    pub(crate) fn with(spec: &str, names: &[&str]) -> Self {
        let fleet = Fleet::new(mk_settings());
        let now = Time::new(Duration::from_secs(3600));
        let mut world = Self {
            fleet,
            now,
            view: View::new("me"),
            seq: 100,
            shown: BTreeMap::new(),
        };
        let hosts: Vec<_> = names.iter().map(|name| format!("{name}.example.com")).collect();
        let targets: Vec<_> = names
            .iter()
            .copied()
            .zip(hosts.iter().map(String::as_str))
            .collect();
        world.configure(&targets, spec);
        world
    }

    /// Makes the control plane start `ms` ago.
    pub(crate) fn begin_at(&mut self, ms: u64) {
        self.fleet.settings.started = self.now.checked_before(Duration::from_millis(ms)).unwrap();
    }

    pub(crate) fn configure(&mut self, targets: &[(&str, &str)], spec: &str) -> Vec<Command> {
        let specs = targets
            .iter()
            .map(|(name, host)| mk_spec(name, host, spec).into())
            .collect();
        self.fleet.configure(specs, self.now);
        let mut commands = self.settle();
        commands.retain(|command| !matches!(command, Command::Adopt { .. }));
        commands
    }

    /// Carries out what the fleet wants; returns what is for the backend.
    pub(crate) fn settle(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for effect in self.take_effects() {
            match effect {
                Effect::Backend(command) => commands.push(command),
                Effect::Publish(publication) => self.view.apply(publication),
                Effect::EndPoll(_) | Effect::Emit(_) | Effect::Changed(_) => {}
            }
        }
        commands
    }

    /// What the fleet wants, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        let effects = self.fleet.take_effects();
        self.fleet.check_sums();
        self.check_changed(&effects);
        effects
    }

    /// Whatever a status shows beside ages and counts of requests, a change of it must be told.
    fn check_changed(&mut self, effects: &[Effect]) {
        let changed: BTreeSet<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Changed(id) => Some(id),
                _ => None,
            })
            .collect();
        let shown = self.fleet.status(self.now).targets.into_iter();
        let shown = shown.map(|one| (one.id.clone(), without_ages(one))).collect();
        let before = std::mem::replace(&mut self.shown, shown);
        for id in before.keys().chain(self.shown.keys()) {
            let (before, now) = (before.get(id), self.shown.get(id));
            assert!(
                before == now || changed.contains(id),
                "must tell that {id} shows {now:?} and no longer {before:?}"
            );
        }
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Command> {
        let end = self.now + Duration::from_millis(ms);
        let mut commands = Vec::new();
        while let Some(at) = self.fleet.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now, "must not spin at {at:?}");
            self.now = at;
            self.fleet.handle_timeout(at);
            commands.extend(self.settle());
        }
        self.now = end;
        commands
    }

    /// One sync that has been answered.
    pub(crate) fn sync(&mut self, proxy: &str) {
        self.fleet
            .open_poll(&mk_proxy(proxy), PollId(1), self.now)
            .unwrap();
        self.fleet.close_poll(&mk_proxy(proxy), PollId(1), self.now);
        self.settle();
    }

    /// One sync that is answered at once. False if it is refused.
    pub(crate) fn try_sync(&mut self, proxy: &Proxy) -> bool {
        let taken = self.fleet.open_poll(proxy, PollId(1), self.now).is_ok();
        self.fleet.close_poll(proxy, PollId(1), self.now);
        taken
    }

    /// A poll that stays open.
    pub(crate) fn poll(&mut self, proxy: &str) {
        self.fleet
            .open_poll(&mk_proxy(proxy), PollId(1), self.now)
            .unwrap();
        self.settle();
    }

    pub(crate) fn say(&mut self, report: &Report) -> Vec<Command> {
        self.fleet.report(report, self.now);
        self.settle()
    }

    pub(crate) fn report(
        &mut self,
        proxy: &str,
        seq: u64,
        usage: &[(&str, u32, u32, Option<u64>)],
    ) -> Vec<Command> {
        let report = mk_report(proxy, seq, usage);
        self.say(&report)
    }

    pub(crate) fn confirm(&mut self, proxy: &str, n: u64) -> Vec<Command> {
        self.seq += 1;
        let mut report = mk_report(proxy, self.seq, &[]);
        report.applied = Some(Revision {
            instance: "me".to_owned(),
            n,
        });
        self.say(&report)
    }

    pub(crate) fn see(&mut self, name: &str, command: u64, ready: u32) -> Vec<Command> {
        self.see_all(name, command, 1, ready, 1)
    }

    pub(crate) fn see_all(
        &mut self,
        name: &str,
        command: u64,
        replicas: u32,
        ready: u32,
        left: u32,
    ) -> Vec<Command> {
        let seen = Observed {
            command,
            replicas,
            ready,
            left,
            absent: false,
            finished: false,
            failure: None,
            set_by: None,
        };
        self.fleet.observe(&id(name), seen, self.now);
        self.settle()
    }

    /// A request of the first proxy wakes it; it is up, and the request is answered.
    pub(crate) fn wake_up(&mut self, name: &str, proxies: &[&str]) {
        for proxy in proxies {
            self.sync(proxy);
        }
        self.report(proxies[0], 1, &[(name, 1, 0, Some(0))]);
        self.see(name, 1, 1);
        self.report(proxies[0], 2, &[(name, 0, 0, Some(0))]);
        assert_eq!(self.state(name), State::Ready, "must be up");
    }

    /// A person's wish, so that it does not depend on time. Returns the drain's revision.
    pub(crate) fn drain(&mut self, name: &str) -> u64 {
        self.fleet.sleep(&id(name), self.now).unwrap();
        self.settle();
        assert_eq!(self.state(name), State::Draining, "must drain");
        self.view.revision().n
    }

    pub(crate) fn published(&self, name: &str) -> Option<Target> {
        let everything = self.view.since(None).unwrap();
        everything
            .changed
            .iter()
            .find(|target| target.id == id(name))
            .map(|target| (**target).clone())
    }

    pub(crate) fn target(&self, name: &str) -> Target {
        self.published(name).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.target(name).state
    }
}

fn without_ages(status: TargetStatus) -> TargetStatus {
    TargetStatus {
        since_ms: 0,
        retry_in_ms: None,
        held: 0,
        in_flight: 0,
        idle_ms: None,
        unreached: Vec::new(),
        ..status
    }
}

pub(crate) fn start(name: &str, command: u64, cause: Cause) -> Command {
    Command::Start {
        id: id(name),
        command,
        cause,
    }
}

pub(crate) fn stop(name: &str, command: u64) -> Command {
    Command::Stop {
        id: id(name),
        command,
        from: 1,
    }
}

pub(crate) fn mk_report(proxy: &str, seq: u64, usage: &[(&str, u32, u32, Option<u64>)]) -> Report {
    let proxy = Reporter {
        id: proxy.to_owned(),
        incarnation: Incarnation::new("one"),
        term: 1,
        seq,
    };
    let usage = usage.iter().map(|(name, held, in_flight, idle_ms)| {
        (
            id(name),
            Usage {
                held: *held,
                in_flight: *in_flight,
                idle_ms: *idle_ms,
            },
        )
    });
    Report {
        proxy,
        applied: None,
        targets: usage.collect(),
        unreached: Vec::new(),
        leaving: false,
    }
}
