//! Workloads as processes on this machine, each under a supervisor of its own (see [`crate::supervise`]).
//!
//! One task for each target, told what is wanted through a `watch` channel: the latest wish wins, and nothing queues.

mod attempt;
mod health;
mod listeners;
mod probe;
mod supervised;
mod supervisors;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use protocol::TargetId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use fleet::command::{Command, Sighting};
use fleet::config::{Process, ScaleTarget, Workload};
use fleet_actor::{Backend, FleetHandle};
use listeners::Listeners;
use supervisors::Supervisors;
use worker::{Context, Wanted, Worker};

/// Beyond the longest grace time, for the kill and the reaping.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

/// Test only: makes each step take longer, so that requests land in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the end of a drain (asleep is published) to SIGTERM.
    pub stopping: Duration,
    /// From the reaping to asleep.
    pub asleep: Duration,
    /// From the answer to the probe to ready.
    pub ready: Duration,
}

/// Processes on this machine.
#[derive(Debug)]
pub struct Local {
    context: Context,
    workers: BTreeMap<TargetId, Slot>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Slot {
    wanted: watch::Sender<Wanted>,
    released: bool,
}

impl Local {
    /// No process yet. `supervisor` is an executable with the subcommand `supervise`. This process becomes a subreaper, and
    /// what it has for children from now on are supervisors or is ended.
    pub fn new(supervisor: PathBuf, fleet: FleetHandle, delays: Delays) -> Self {
        Self {
            context: Context {
                supervisors: Supervisors::new(supervisor),
                listeners: Arc::new(Listeners::default()),
                fleet,
                delays,
                stop: CancellationToken::new(),
            },
            workers: BTreeMap::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn adopt(&mut self, spec: &Arc<ScaleTarget>) {
        let Workload::Process(process) = &spec.workload else {
            // Refused when the file was read.
            warn!(target = %spec.id, "has no process: the local backend leaves it alone");
            return;
        };
        let process = Arc::new(process.clone());
        if let Some(slot) = self.workers.get_mut(&spec.id).filter(|slot| !slot.released) {
            slot.wanted.send_modify(|wanted| wanted.process = process);
            return;
        }
        let own = self
            .take_released_at(&process)
            .or_else(|| self.workers.remove(&spec.id));
        match own {
            Some(slot) => self.take_over(&spec.id, slot, process),
            None => self.employ(&spec.id, process),
        }
    }

    /// What was released, under whatever name, and has the address of `process`: it cannot be started before that is gone.
    fn take_released_at(&mut self, process: &Process) -> Option<Slot> {
        let address = process.ready.address();
        let has_address = |slot: &Slot| slot.wanted.borrow().process.ready.address() == address;
        let mut all = self.workers.iter();
        let (found, _) = all.find(|(_, slot)| slot.released && has_address(slot))?;
        let found = found.clone();
        self.workers.remove(&found)
    }

    /// Makes what was released `id`'s. What runs of it goes on if it is what `process` would be; else it ends, as no target
    /// wants it any more.
    fn take_over(&mut self, id: &TargetId, slot: Slot, process: Arc<Process>) {
        let Slot { wanted, .. } = slot;
        wanted.send_modify(|wanted| {
            wanted.up &= wanted.process.runs_as(&process);
            wanted.id = id.clone();
            wanted.process = process;
            wanted.life += 1;
            wanted.command = 0;
        });
        let slot = Slot {
            wanted,
            released: false,
        };
        self.workers.insert(id.clone(), slot);
    }

    fn rename(&mut self, from: &TargetId, spec: &Arc<ScaleTarget>) {
        if let Some(slot) = self.workers.remove(from) {
            slot.wanted.send_modify(|wanted| wanted.id = spec.id.clone());
            self.workers.insert(spec.id.clone(), slot);
        }
        self.adopt(spec);
    }

    fn employ(&mut self, id: &TargetId, process: Arc<Process>) {
        let (wanted, seen) = watch::channel(Wanted {
            id: id.clone(),
            process,
            life: 0,
            command: 0,
            up: false,
            looks: 0,
        });
        let worker = Worker::new(id.clone(), self.context.clone(), seen);
        self.tasks.spawn(worker.run());
        self.workers.insert(
            id.clone(),
            Slot {
                wanted,
                released: false,
            },
        );
    }

    fn want(&mut self, id: &TargetId, command: u64, up: bool) {
        let own = self.workers.get(id).filter(|_| up);
        if let Some(process) = own.map(|slot| Arc::clone(&slot.wanted.borrow().process))
            && let Some(slot) = self.take_released_at(&process)
        {
            self.take_over(id, slot, process);
        }
        if let Some(slot) = self.workers.get(id) {
            slot.wanted.send_modify(|wanted| {
                wanted.command = command;
                wanted.up = up;
            });
        }
    }
}

impl Backend for Local {
    fn carry_out(&mut self, command: Command) -> Vec<Sighting> {
        match command {
            Command::Adopt { spec } => self.adopt(&spec),
            Command::Rename { from, spec } => self.rename(&from, &spec),
            Command::Start {
                id,
                command,
                cause: _,
            } => self.want(&id, command, true),
            Command::Stop { id, command, .. } => self.want(&id, command, false),
            Command::Release { id } => {
                self.workers.retain(|worker, slot| {
                    slot.released |= *worker == id;
                    // Nothing runs of it, or no longer than it takes to end: its worker ends with its slot.
                    !slot.released || slot.wanted.borrow().up
                });
            }
            Command::Look { id } => {
                if let Some(slot) = self.workers.get(&id) {
                    slot.wanted.send_modify(|wanted| wanted.looks += 1);
                }
            }
            Command::Toggle { .. } => {}
        }
        Vec::new()
    }

    fn shut_down(self) -> BoxFuture<'static, ()> {
        let grace = self
            .workers
            .values()
            .map(|slot| slot.wanted.borrow().process.stop_grace)
            .max();
        let limit = grace.unwrap_or_default() + SHUTDOWN_MARGIN;
        async move {
            self.context.stop.cancel();
            self.tasks.close();
            if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
                // Their supervisors kill them when this process ends.
                warn!("some workloads did not end in time");
            }
        }
        .boxed()
    }
}
