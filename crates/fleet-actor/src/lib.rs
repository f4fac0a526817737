//! The one task that owns the fleet: takes messages one by one, and carries out what follows from each before the next.

pub mod active;
mod backend;
mod clock;
mod fence;
mod handle;
pub mod known;
mod log;
pub mod manual;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use protocol::{Proxy, TargetId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use fleet::command::Command;
use fleet::proxies::PollId;
use fleet::view::View;
use fleet::{Counts, Effect, Fleet, FleetEvent, Settings, WishRefusal};
use handle::{Message, PollEnd};

pub use backend::Backend;
pub use clock::{Clock, unix_ms};
pub use fence::Fence;
pub use handle::{FleetEvents, FleetHandle, Gone, PollGuard};
pub use metrics::{BoundsHit, Metrics};

/// Messages that may wait: reports, polls and sightings of a burst. Each is taken within microseconds, and a sender that
/// finds the queue full waits. No caller keeps a place in it.
const QUEUE: usize = 1024;

/// Events kept for a listener that is behind: one for each target of a large fleet that moves at once. Each is taken
/// within microseconds; what one misses all the same is counted.
const EVENTS: usize = 1024;

/// Changes kept for a reader that is behind: of a large fleet that moves at once. One that misses some looks at everything.
const CHANGES: usize = 1024;

/// Makes the handle and the task's future. The task ends when `stop` is cancelled or every handle is gone; it returns
/// the backend, for its shutdown.
pub fn new<B: Backend>(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    mount: impl FnOnce(FleetHandle) -> B,
    stop: CancellationToken,
) -> (FleetHandle, impl Future<Output = B>) {
    let (sender, messages) = mpsc::channel(QUEUE);
    // Two polls of one proxy overlap for a moment, when the second ends the first; and a burst waits to be refused. A poll
    // that finds no place is refused.
    let (ends, ended) = mpsc::channel(2 * settings.limits.max + QUEUE);
    let view = watch::Sender::new(View::new(settings.instance.clone()));
    let events = broadcast::Sender::new(EVENTS);
    let changes = broadcast::Sender::new(CHANGES);
    let known = watch::Sender::new(0);
    let counts = watch::Sender::new(Counts::default());
    let handle = FleetHandle {
        messages: sender,
        ends,
        events: events.downgrade(),
        changes: changes.downgrade(),
        notes_missed: metrics.notes_missed.clone(),
        view: view.subscribe(),
        polls: Arc::new(AtomicU64::new(1)),
        known_changes: known.subscribe(),
        counts: counts.subscribe(),
    };
    let backend = mount(handle.clone());
    let actor = Actor {
        fleet: Fleet::new(settings),
        clock,
        metrics,
        events,
        changes,
        view,
        known,
        counts,
        polls: BTreeMap::new(),
        backend,
        closing: None,
    };
    (handle, actor.run(messages, ended, stop))
}

struct Actor<B> {
    fleet: Fleet,
    clock: Clock,
    metrics: Metrics,
    events: broadcast::Sender<FleetEvent>,
    /// Targets whose status shows something else.
    changes: broadcast::Sender<TargetId>,
    view: watch::Sender<View>,
    /// Changes whenever other proxies are known.
    known: watch::Sender<u64>,
    /// For metrics.
    counts: watch::Sender<Counts>,
    /// The open polls: at most one for each proxy, so they are bounded as proxies are.
    polls: BTreeMap<PollId, CancellationToken>,
    backend: B,
    /// Answered once the proxies know that the control plane shuts down.
    closing: Option<oneshot::Sender<()>>,
}

impl<B: Backend> Actor<B> {
    async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut ended: mpsc::Receiver<PollEnd>,
        stop: CancellationToken,
    ) -> B {
        loop {
            self.take_time();
            let deadline = self.fleet.poll_timeout().map(|at| self.clock.instant(at));
            let timeout = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.backend,
                Some((proxy, poll)) = ended.recv() => self.close_poll(&proxy, poll),
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return self.backend,
                },
                // What is due is done at the next turn.
                () = timeout => {}
            }
            self.carry_out();
            self.show();
            if self.fleet.is_closed()
                && let Some(reply) = self.closing.take()
            {
                answer(reply, ());
            }
        }
    }

    /// Time comes before whatever waits in the queue, or nothing would become due while that is never empty. It takes no more
    /// than its turn: once it is dealt with, the next deadline is later than now.
    fn take_time(&mut self) {
        let now = self.clock.now();
        if self.fleet.poll_timeout().is_some_and(|at| at <= now) {
            self.fleet.handle_timeout(now);
            self.carry_out();
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        self.fleet.set_wall_clock(unix_ms(), now);
        match message {
            Message::Configure(targets) => self.fleet.configure(targets, now),
            Message::Observe(sighting) => self.fleet.observe(&sighting.id, sighting.seen, now),
            Message::Report(report, reply) => answer(reply, self.fleet.report(&report, now)),
            Message::OpenPoll(proxy, module, poll, ended, reply) => {
                let outcome = self.fleet.open_poll(&proxy, poll, now);
                if outcome.is_ok() {
                    self.fleet.hear_module(&proxy, module.as_deref());
                    self.polls.insert(poll, ended);
                }
                // Ends come in a queue of their own: that of a caller that is gone may have come before its beginning.
                if reply.send(outcome).is_err() {
                    self.close_poll(&proxy, poll);
                }
            }
            Message::Remember(known, reply) => {
                self.fleet.remember(&known, now);
                answer(reply, ());
            }
            Message::Known(reply) => answer(reply, self.fleet.known()),
            Message::Wake(id, reply) => answer(reply, self.fleet.wake(&id, now)),
            Message::Sleep(id, reply) => answer(reply, self.fleet.sleep(&id, now)),
            Message::Toggle(id, reply) => {
                let known = self.fleet.life(&id).is_some();
                if known {
                    self.command(Command::Toggle { id });
                }
                answer(reply, if known { Ok(()) } else { Err(WishRefusal::Unknown) });
            }
            Message::Close(reply) => {
                self.fleet.close();
                self.closing = Some(reply);
            }
            Message::Target(id, reply) => answer(reply, self.fleet.target_status(&id, now)),
            Message::Proxies(reply) => answer(reply, self.fleet.proxy_status(now)),
            Message::Status(reply) => answer(reply, self.fleet.status(now)),
        }
    }

    fn close_poll(&mut self, proxy: &Proxy, poll: PollId) {
        self.polls.remove(&poll);
        self.fleet.close_poll(proxy, poll, self.clock.now());
    }

    /// What others may read without asking.
    fn show(&self) {
        let changes = self.fleet.known_changes();
        self.known
            .send_if_modified(|known| std::mem::replace(known, changes) != changes);
        let counts = self.fleet.counts();
        self.counts.send_if_modified(|shown| {
            let changed = *shown != counts;
            *shown = counts;
            changed
        });
    }

    /// What a command brings about at once is taken in at once, and may bring about more.
    fn carry_out(&mut self) {
        loop {
            let effects = self.fleet.take_effects();
            if effects.is_empty() {
                return;
            }
            self.publish(&effects);
            for effect in effects {
                match effect {
                    Effect::Backend(command) => self.command(command),
                    Effect::EndPoll(poll) => {
                        if let Some(ended) = self.polls.remove(&poll) {
                            ended.cancel();
                        }
                    }
                    Effect::Emit(event) => self.emit(event),
                    // There may be no receiver.
                    Effect::Changed(id) => drop(self.changes.send(id)),
                    Effect::Publish(_) => {}
                }
            }
        }
    }

    /// All publications of one turn at once, so that each poll is answered once. The proxies are told that requests
    /// are held before the backend is told to stop anything.
    fn publish(&mut self, effects: &[Effect]) {
        let publications: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Publish(publication) => Some(publication.clone()),
                _ => None,
            })
            .collect();
        if publications.is_empty() {
            return;
        }
        self.view.send_modify(|view| {
            let before = view.truncations();
            for publication in publications {
                view.apply(publication);
            }
            self.metrics
                .history_truncations
                .inc_by(view.truncations() - before);
        });
    }

    /// Never waits: a listener that is too far behind misses the oldest.
    fn emit(&self, event: FleetEvent) {
        log::write(&event, &self.metrics);
        if event.is_history() {
            // There may be no receiver.
            let _ = self.events.send(event);
        }
    }

    fn command(&mut self, command: Command) {
        for sighting in self.backend.carry_out(command) {
            self.fleet.observe(&sighting.id, sighting.seen, self.clock.now());
        }
    }
}

/// An answer whose caller has gone is dropped.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}
