//! The handle by which all other tasks reach the fleet: asks the one task that owns it, and reads what that shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use protocol::{Proxy, Report, TargetId};
use thiserror::Error;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use fleet::command::Sighting;
use fleet::proxies::PollId;
use fleet::view::View;
use fleet::{
    Configured, Counts, FleetEvent, Known, PollRefusal, ProxyStatus, Reported, Status, TargetStatus,
    WishRefusal,
};

/// What is said to the actor.
#[derive(Debug)]
pub(super) enum Message {
    /// A new configuration.
    Configure(Vec<Configured>),
    /// The backend saw something.
    Observe(Sighting),
    /// A report, and where its outcome goes.
    Report(Box<Report>, oneshot::Sender<Reported>),
    /// A poll opens; `CancellationToken` ends it.
    OpenPoll(
        Proxy,
        Option<String>,
        PollId,
        CancellationToken,
        oneshot::Sender<Result<(), PollRefusal>>,
    ),
    /// Proxies that the control plane before this one knew; answered once they count.
    Remember(Known, oneshot::Sender<()>),
    /// Asks which proxies another control plane would have to know.
    Known(oneshot::Sender<Known>),
    /// A person's wish.
    Wake(TargetId, oneshot::Sender<Result<(), WishRefusal>>),
    /// A person's wish.
    Sleep(TargetId, oneshot::Sender<Result<(), WishRefusal>>),
    /// A person's wish, with the manual backend.
    Toggle(TargetId, oneshot::Sender<Result<(), WishRefusal>>),
    /// The control plane shuts down; answered once the proxies know.
    Close(oneshot::Sender<()>),
    /// What there is to see of one target.
    Target(TargetId, oneshot::Sender<Option<TargetStatus>>),
    /// What there is to see of the proxies.
    Proxies(oneshot::Sender<Vec<ProxyStatus>>),
    /// All there is to see.
    Status(oneshot::Sender<Status>),
}

/// A poll has ended.
pub(super) type PollEnd = (Proxy, PollId);

/// The actor has ended: the control plane is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the control plane is shutting down")]
pub struct Gone;

/// Speaks to the one task that owns the [`fleet::Fleet`].
#[derive(Clone, Debug)]
pub struct FleetHandle {
    pub(super) messages: mpsc::Sender<Message>,
    /// Ends of polls, in a queue of their own: a place for each is kept from the poll's beginning, so that it can be told
    /// whatever else waits.
    pub(super) ends: mpsc::Sender<PollEnd>,
    /// Weak, so that listeners learn of the actor's end.
    pub(super) events: broadcast::WeakSender<FleetEvent>,
    pub(super) changes: broadcast::WeakSender<TargetId>,
    pub(super) notes_missed: Counter,
    pub(super) view: watch::Receiver<View>,
    pub(super) polls: Arc<AtomicU64>,
    pub(super) known_changes: watch::Receiver<u64>,
    pub(super) counts: watch::Receiver<Counts>,
}

impl FleetHandle {
    /// What is published, now and as it changes.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// What happens to targets from now on: changes of phase, wishes that are refused, wakes that are undone, targets
    /// that are let go.
    pub fn events(&self) -> Result<FleetEvents, Gone> {
        let sender = self.events.upgrade().ok_or(Gone)?;
        Ok(FleetEvents {
            receiver: sender.subscribe(),
            missed: self.notes_missed.clone(),
        })
    }

    /// Targets whose [`Self::target`] shows something else from now on, in anything but ages and counts of requests; also those that
    /// come and go. A receiver that lags has missed some, so it must look at all. Closed once the fleet has ended.
    pub fn changes(&self) -> Result<broadcast::Receiver<TargetId>, Gone> {
        Ok(self.changes.upgrade().ok_or(Gone)?.subscribe())
    }

    /// Takes a whole new configuration.
    pub async fn configure(&self, targets: Vec<Configured>) -> Result<(), Gone> {
        self.messages
            .send(Message::Configure(targets))
            .await
            .map_err(|_| Gone)
    }

    /// Tells which proxies the control plane before this one knew: they block sleeps until they are heard or forgotten. To be
    /// called before any proxy is answered; see [`super::known::recall`].
    pub async fn remember(&self, known: Known) -> Result<(), Gone> {
        self.ask(|reply| Message::Remember(known, reply)).await
    }

    /// The proxies that another control plane would have to know.
    pub async fn known(&self) -> Result<Known, Gone> {
        self.ask(Message::Known).await
    }

    /// Another number whenever [`Self::known`] says something else.
    pub fn known_changes(&self) -> watch::Receiver<u64> {
        self.known_changes.clone()
    }

    /// Tells what the backend saw.
    pub async fn observe(&self, sighting: Sighting) -> Result<(), Gone> {
        self.messages
            .send(Message::Observe(sighting))
            .await
            .map_err(|_| Gone)
    }

    /// Takes a report in.
    pub async fn report(&self, report: Report) -> Result<Reported, Gone> {
        self.ask(|reply| Message::Report(Box::new(report), reply)).await
    }

    /// Makes the caller the proxy's one open poll until the guard is dropped. `module`: what it says of its version.
    pub async fn open_poll(
        &self,
        proxy: Proxy,
        module: Option<String>,
    ) -> Result<Result<PollGuard, PollRefusal>, Gone> {
        // Never waited for: a task that holds such a place waits for the actor, so a caller that waited for one could wait for ever.
        let place = match self.ends.clone().try_reserve_owned() {
            Ok(place) => place,
            Err(TrySendError::Full(_)) => return Ok(Err(PollRefusal::TooManyPolls)),
            Err(TrySendError::Closed(_)) => return Err(Gone),
        };
        let poll = PollId(self.polls.fetch_add(1, Ordering::Relaxed));
        let ended = CancellationToken::new();
        // Made before the question: if this future is dropped while it waits, the poll is closed all the same.
        let guard = PollGuard {
            ended: ended.clone(),
            close: Some((place, proxy.clone(), poll)),
        };
        let answer = self
            .ask(|reply| Message::OpenPoll(proxy, module, poll, ended, reply))
            .await?;
        Ok(answer.map(|()| guard))
    }

    /// Asks for a target to be up.
    pub async fn wake(&self, id: TargetId) -> Result<Result<(), WishRefusal>, Gone> {
        self.ask(|reply| Message::Wake(id, reply)).await
    }

    /// Asks for a target to be put to sleep.
    pub async fn sleep(&self, id: TargetId) -> Result<Result<(), WishRefusal>, Gone> {
        self.ask(|reply| Message::Sleep(id, reply)).await
    }

    /// Turns a target that is up off and one that is not on (manual backend).
    pub async fn toggle(&self, id: TargetId) -> Result<Result<(), WishRefusal>, Gone> {
        self.ask(|reply| Message::Toggle(id, reply)).await
    }

    /// Tells the proxies that the control plane shuts down; returns once they have confirmed it.
    pub async fn close(&self) -> Result<(), Gone> {
        self.ask(Message::Close).await
    }

    /// How many there are of what, as of the last message that was taken. Waits for no other task.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// What there is to see of one target; `None`: there is no such target.
    pub async fn target(&self, id: TargetId) -> Result<Option<TargetStatus>, Gone> {
        self.ask(|reply| Message::Target(id, reply)).await
    }

    /// What there is to see of the proxies.
    pub async fn proxies(&self) -> Result<Vec<ProxyStatus>, Gone> {
        self.ask(Message::Proxies).await
    }

    /// All there is to see: it costs the fleet as much as there is.
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Message::Status).await
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

/// Listens to what happens to targets, without ever holding the fleet up.
#[derive(Debug)]
pub struct FleetEvents {
    receiver: broadcast::Receiver<FleetEvent>,
    missed: Counter,
}

impl FleetEvents {
    /// The next one; `None` once the fleet has ended. Those that a slow listener missed are counted and left out.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<FleetEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => drop(self.missed.inc_by(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// One open poll. Its end is told when it is dropped.
#[derive(Debug)]
pub struct PollGuard {
    ended: CancellationToken,
    close: Option<(mpsc::OwnedPermit<PollEnd>, Proxy, PollId)>,
}

impl PollGuard {
    /// Waits until a newer poll of the same proxy has come, or the proxy is no longer known.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if let Some((place, proxy, poll)) = self.close.take() {
            place.send((proxy, poll));
        }
    }
}
