//! The fleet against simulated Envoys that know the truth: what each of them really lets pass.

mod action;

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{Incarnation, Proxy, Report, Reporter, Revision, State, Usage};

use super::Reported;
use action::{Action, action};

use super::world::{World, id, mk_proxy, mk_report};
use crate::command::Command;
use crate::lifecycle::{Failure, FailureClass, Observed};
use crate::time::{Time, millis};

/// What the target is called, by turns.
const NAMES: [&str; 2] = ["web", "shop"];
const SPEC: &str = "idle: {after: 20s}";

/// As in [`World`].
const FORGET_AFTER: Duration = Duration::from_secs(600);

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: when a stop is sent, every Envoy that is not forgotten holds, and has
    /// nothing in flight.
    #[test]
    fn nothing_is_stopped_that_an_envoy_still_uses(actions in prop::collection::vec(action(), 1..200)) {
        let mut play = Play::new();
        for action in actions {
            play.act(&action)?;
        }
    }

    /// The same, and then everybody is well and quiet: it falls asleep. And a request wakes it.
    #[test]
    fn it_always_gets_to_sleep_and_up_again(actions in prop::collection::vec(action(), 1..100)) {
        let mut play = Play::new();
        for action in actions {
            play.act(&action)?;
        }
        play.rest()?;
        prop_assert_eq!(play.envoys[0].state(), State::Asleep, "must sleep once no request uses it");
        play.act(&Action::Arrive(0))?;
        play.act(&Action::Report(0))?;
        play.act(&Action::Carry)?;
        play.act(&Action::Sync(0))?;
        prop_assert_eq!(play.envoys[0].state(), State::Ready, "must be woken by one request");
    }
}

/// One Envoy, with what it really does.
struct Envoy {
    incarnation: u64,
    seq: u64,
    known: Option<(u64, State)>,
    /// What it calls the target.
    name: &'static str,
    held: u32,
    in_flight: u32,
    arrived: Option<Time>,
    last_word: Option<Time>,
    muted: bool,
}

impl Envoy {
    fn new() -> Self {
        Self {
            incarnation: 0,
            seq: 0,
            known: None,
            name: NAMES[0],
            held: 0,
            in_flight: 0,
            arrived: None,
            last_word: None,
            muted: false,
        }
    }

    fn state(&self) -> State {
        self.known.map_or(State::Asleep, |(_, state)| state)
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation::from_random(self.incarnation)
    }
}

struct Play {
    world: World,
    envoys: [Envoy; 2],
    told: VecDeque<Command>,
    command: u64,
    replicas: u32,
    made_up: u64,
    /// What the control plane calls the target.
    name: &'static str,
}

impl Play {
    fn new() -> Self {
        Self {
            world: World::with(SPEC, &NAMES[..1]),
            envoys: [Envoy::new(), Envoy::new()],
            told: VecDeque::new(),
            command: 0,
            replicas: 0,
            made_up: 0,
            name: NAMES[0],
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        let now = self.world.now;
        let commands = match *action {
            Action::Arrive(n) => {
                let envoy = &mut self.envoys[n];
                envoy.arrived = Some(now);
                match envoy.state() {
                    State::Ready | State::Suspended => envoy.in_flight += 1,
                    State::Asleep | State::Waking | State::Draining => envoy.held += 1,
                    State::Failed | State::Unknown => {}
                }
                Vec::new()
            }
            Action::Finish(n) => {
                self.envoys[n].in_flight = self.envoys[n].in_flight.saturating_sub(1);
                Vec::new()
            }
            Action::Abandon(n) => {
                self.envoys[n].held = self.envoys[n].held.saturating_sub(1);
                Vec::new()
            }
            Action::Sync(n) => self.sync(n),
            Action::Report(n) => self.report(n, false),
            Action::Mute(n) => {
                self.envoys[n].muted = !self.envoys[n].muted;
                Vec::new()
            }
            Action::Leave(n) => self.leave(n),
            Action::MakeUp(reports) => self.make_up(reports),
            Action::Carry => self.carry(),
            Action::Die => self.die(),
            Action::Others(replicas) => self.scale(replicas),
            Action::Wait(ms) => self.world.pass(ms),
            Action::AskSleep => {
                let _ = self.world.fleet.sleep(&id(self.name), now);
                self.world.settle()
            }
            Action::AskWake => {
                let _ = self.world.fleet.wake(&id(self.name), now);
                self.world.settle()
            }
            Action::Rename => {
                self.name = if self.name == NAMES[0] { NAMES[1] } else { NAMES[0] };
                self.world.configure(&[(self.name, "web.example.com")], SPEC)
            }
        };
        self.check(commands)
    }

    fn check(&mut self, commands: Vec<Command>) -> Result<(), TestCaseError> {
        for command in commands {
            if let Command::Stop { .. } = command {
                let now = self.world.now;
                let counts =
                    |envoy: &&Envoy| envoy.last_word.is_some_and(|word| now.since(word) < FORGET_AFTER);
                for envoy in self.envoys.iter().filter(counts) {
                    prop_assert_eq!(envoy.in_flight, 0, "must not stop what has requests in flight");
                    let passes = matches!(envoy.state(), State::Ready | State::Suspended);
                    prop_assert!(
                        !passes,
                        "must not stop what an Envoy still lets requests pass into"
                    );
                }
                prop_assert!(
                    self.envoys.iter().any(|e| e.last_word.is_some()),
                    "must not stop with no proxy there"
                );
            }
            self.told.push_back(command);
        }
        Ok(())
    }

    fn sync(&mut self, n: usize) -> Vec<Command> {
        let envoy = &mut self.envoys[n];
        if envoy.muted {
            return Vec::new();
        }
        let proxy = Proxy {
            id: format!("envoy-{n}"),
            incarnation: envoy.incarnation(),
            term: 1,
        };
        // There may be no room; then it is told nothing, and nothing is known of it.
        if !self.world.try_sync(&proxy) {
            return self.world.settle();
        }
        let commands = self.world.settle();
        let target = self.world.published(self.name).unwrap();
        let envoy = &mut self.envoys[n];
        envoy.name = self.name;
        envoy.last_word = Some(self.world.now);
        envoy.known = Some((self.world.view.revision().n, target.state));
        match target.state {
            State::Ready | State::Suspended => envoy.in_flight += std::mem::take(&mut envoy.held),
            State::Failed => envoy.held = 0,
            State::Asleep | State::Waking | State::Draining => {}
            State::Unknown => unreachable!("is never published"),
        }
        commands
    }

    fn report(&mut self, n: usize, leaving: bool) -> Vec<Command> {
        let envoy = &mut self.envoys[n];
        // An Envoy speaks first by a sync.
        if envoy.muted || envoy.known.is_none() {
            return Vec::new();
        }
        envoy.seq += 1;
        let usage = Usage {
            held: envoy.held,
            in_flight: envoy.in_flight,
            idle_ms: envoy.arrived.map(|at| millis(self.world.now.since(at))),
        };
        let report = Report {
            proxy: Reporter {
                id: format!("envoy-{n}"),
                incarnation: envoy.incarnation(),
                term: 1,
                seq: envoy.seq,
            },
            applied: envoy.known.map(|(n, _)| Revision {
                instance: "me".to_owned(),
                n,
            }),
            targets: [(id(envoy.name), usage)].into(),
            unreached: Vec::new(),
            leaving,
        };
        let outcome = self.world.fleet.report(&report, self.world.now);
        if outcome == Reported::Taken && !leaving {
            self.envoys[n].last_word = Some(self.world.now);
        }
        self.world.settle()
    }

    fn make_up(&mut self, reports: bool) -> Vec<Command> {
        self.made_up += 1;
        let name = format!("made up {}", self.made_up);
        self.world.try_sync(&mk_proxy(&name));
        if reports {
            self.world.fleet.report(&mk_report(&name, 1, &[]), self.world.now);
        }
        self.world.settle()
    }

    /// It ends well: only with nothing left to do. The next one of its name has another incarnation.
    fn leave(&mut self, n: usize) -> Vec<Command> {
        let envoy = &self.envoys[n];
        if envoy.muted || envoy.held > 0 || envoy.in_flight > 0 {
            return Vec::new();
        }
        // Its last word is said before it is judged: it counts no more.
        self.envoys[n].last_word = None;
        let commands = self.report(n, true);
        let incarnation = self.envoys[n].incarnation + 1;
        self.envoys[n] = Envoy {
            incarnation,
            ..Envoy::new()
        };
        commands
    }

    fn carry(&mut self) -> Vec<Command> {
        let Some(command) = self.told.pop_front() else {
            return Vec::new();
        };
        match command {
            Command::Start { command, .. } => (self.command, self.replicas) = (command, self.replicas.max(1)),
            // What others have set stands, and is told.
            Command::Stop { command, from, .. } if self.replicas != from => self.command = command,
            Command::Stop { command, .. } => (self.command, self.replicas) = (command, 0),
            _ => return Vec::new(),
        }
        self.scale(self.replicas)
    }

    fn scale(&mut self, replicas: u32) -> Vec<Command> {
        self.replicas = replicas;
        self.see(Observed {
            command: self.command,
            replicas,
            ready: replicas,
            left: replicas,
            absent: false,
            finished: false,
            failure: None,
            set_by: None,
        })
    }

    fn die(&mut self) -> Vec<Command> {
        if self.replicas == 0 {
            return Vec::new();
        }
        let failure = Some(Failure::new(FailureClass::Crash, "it died"));
        self.see(Observed {
            command: self.command,
            replicas: self.replicas,
            ready: 0,
            left: 0,
            absent: false,
            finished: false,
            failure,
            set_by: None,
        })
    }

    fn see(&mut self, seen: Observed) -> Vec<Command> {
        self.world.fleet.observe(&id(self.name), seen, self.world.now);
        self.world.settle()
    }

    /// Every proxy reports, and none has a request, for five minutes. At least one request has been matched.
    fn rest(&mut self) -> Result<(), TestCaseError> {
        for envoy in &mut self.envoys {
            envoy.muted = false;
        }
        // Until made-up proxies are forgotten.
        for _ in 0..65 {
            for n in 0..2 {
                self.act(&Action::Sync(n))?;
                self.act(&Action::Report(n))?;
            }
            self.act(&Action::Wait(10_000))?;
        }
        self.act(&Action::Arrive(0))?;
        for _ in 0..150 {
            for n in 0..2 {
                self.act(&Action::Sync(n))?;
                (self.envoys[n].held, self.envoys[n].in_flight) = (0, 0);
                self.act(&Action::Report(n))?;
            }
            self.act(&Action::Carry)?;
            self.act(&Action::Wait(2_000))?;
        }
        for n in 0..2 {
            self.act(&Action::Sync(n))?;
        }
        Ok(())
    }
}
