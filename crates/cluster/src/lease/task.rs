//! The one task that stands for election: asks the API server what the election wants to know, and tells which replica leads.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::election::{Election, Outcome};
use super::wire::{Answer, Place, Request};
use crate::metrics::Metrics;
use fleet_actor::{Clock, Fence, unix_ms};

/// Different failures that are logged before one has to succeed: there are a handful, but their texts are others'.
const MAX_COMPLAINTS: usize = 8;

/// What this replica is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It leads while the fence is open. Each leadership has a fence of its own.
    Leading(Fence),
    /// Another candidate leads, or none does.
    Standby {
        /// The replica that is said to lead.
        holder: Option<String>,
    },
}

impl Role {
    /// The fence of the leadership, if it leads.
    pub fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Leading(fence) => Some(fence),
            Self::Standby { .. } => None,
        }
    }
}

/// This replica's part in the election: asks the API server what [`Election`] says.
pub struct Candidate {
    place: Place,
    identity: String,
    lease: Duration,
    clock: Clock,
    metrics: Metrics,
}

#[derive(PartialEq, Eq)]
struct Failure {
    writing: bool,
    text: String,
}

impl Candidate {
    /// For the Lease `namespace/name`, which is made when it is not there. No two candidates may have one `identity`.
    pub fn new(
        client: Client,
        (namespace, name): (String, String),
        identity: String,
        lease: Duration,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self {
            place: Place::new(client, namespace, name),
            identity,
            lease,
            clock,
            metrics,
        }
    }

    /// Takes part until `resign` is cancelled and the lease is given back, or cannot be within a third of its length.
    /// By then everything that this leadership wrote must have been written: another may lead at once.
    pub async fn run(self, roles: watch::Sender<Role>, resign: CancellationToken) {
        let (versions, mut seen) = watch::channel(String::new());
        let mut elector = Elector {
            election: Election::new(self.identity.clone(), self.lease),
            roles,
            candidate: &self,
            term: None,
            stored: None,
            complaints: Vec::new(),
            resigned: false,
        };
        let listening = self.place.listen(self.lease / 3, versions);
        let acting = elector.act(&mut seen, resign);
        tokio::select! {
            () = acting => {}
            () = listening => {}
        }
    }
}

/// What changes while it takes part.
struct Elector<'a> {
    election: Election,
    roles: watch::Sender<Role>,
    candidate: &'a Candidate,
    /// The leadership that has been announced.
    term: Option<(u64, Fence)>,
    /// As read or written last.
    stored: Option<Lease>,
    /// Failures that have been logged.
    complaints: Vec<Failure>,
    resigned: bool,
}

impl Elector<'_> {
    async fn act(&mut self, seen: &mut watch::Receiver<String>, resign: CancellationToken) {
        let clock = self.candidate.clock;
        let mut request: Option<Request> = None;
        let mut give_up = None;
        loop {
            let now = clock.now();
            self.election.handle_timeout(now);
            self.announce();
            if request.is_none()
                && let Some(order) = self.election.poll_order(now, Timestamp::now().as_microsecond())
            {
                request = Some(self.candidate.place.send(order, self.stored.as_ref()));
            }
            if self.election.is_finished() {
                return;
            }
            let wake = async {
                match self.election.poll_timeout(now) {
                    Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = wake => {}
                () = resign.cancelled(), if !self.resigned => {
                    self.election.resign();
                    self.resigned = true;
                    give_up = Some(clock.now() + self.candidate.lease / 3);
                }
                () = until(&clock, give_up) => return,
                answer = answer(&mut request) => {
                    request = None;
                    self.hear(answer);
                }
                Ok(()) = seen.changed() => {
                    let version = seen.borrow_and_update().clone();
                    self.election.hear(&version);
                }
            }
        }
    }

    fn hear(&mut self, answer: Answer) {
        let Answer {
            outcome,
            lease,
            writing,
            failure,
        } = answer;
        let now = self.candidate.clock.now();
        if outcome == Outcome::Failed && self.election.leading(now).is_some() {
            self.candidate.metrics.lease_renew_failures.inc();
        }
        if lease.is_some() {
            self.stored = lease;
        }
        self.election.handle_outcome(outcome, now);
        self.complain(failure.map(|text| Failure { writing, text }), writing);
    }

    /// Each failure is said once, until what failed succeeds.
    fn complain(&mut self, failure: Option<Failure>, writing: bool) {
        let place = &self.candidate.place;
        match failure {
            Some(failure)
                if !self.complaints.contains(&failure) && self.complaints.len() < MAX_COMPLAINTS =>
            {
                warn!(
                    event = "lease_failed",
                    "the lease {place} cannot be had: {}", failure.text
                );
                self.complaints.push(failure);
            }
            None if !self.complaints.is_empty() => {
                self.complaints.retain(|before| before.writing && !writing);
                if self.complaints.is_empty() {
                    info!(event = "lease_works", "the lease {place} can be had again");
                }
            }
            _ => {}
        }
    }

    /// The fence first, so that a task that hears of a leadership never finds its fence as it was.
    fn announce(&mut self) {
        let now = self.candidate.clock.now();
        let leading = self.election.leading(now);
        if let Some((term, fence)) = &self.term
            && leading.is_none_or(|leading| leading.term != *term)
        {
            fence.close();
            self.term = None;
            if !self.resigned {
                warn!(
                    event = "lease_lost",
                    unix_ms = unix_ms(),
                    "leads no more: the lease could not be renewed in time, or is another's"
                );
            }
        }
        match (leading, &self.term) {
            (Some(leading), Some((_, fence))) => fence.renew(leading.renewed),
            (Some(leading), None) => {
                let fence = Fence::new(self.candidate.clock, Election::usable(self.candidate.lease));
                fence.renew(leading.renewed);
                self.candidate.metrics.lease_transitions.inc();
                info!(
                    event = "elected",
                    identity = self.candidate.identity,
                    term = leading.term,
                    unix_ms = unix_ms(),
                    "leads"
                );
                self.term = Some((leading.term, fence.clone()));
                self.roles.send_replace(Role::Leading(fence));
            }
            (None, _) => self.stand_by(),
        }
    }

    fn stand_by(&mut self) {
        let holder = self.election.holder().map(ToOwned::to_owned);
        self.roles.send_if_modified(|role| {
            if matches!(role, Role::Standby { holder: before } if *before == holder) {
                return false;
            }
            info!(event = "standby", holder, unix_ms = unix_ms(), "stands by");
            *role = Role::Standby { holder };
            true
        });
    }
}

async fn until(clock: &Clock, end: Option<fleet::time::Time>) {
    match end {
        Some(end) => tokio::time::sleep_until(clock.instant(end)).await,
        None => std::future::pending().await,
    }
}

async fn answer(request: &mut Option<Request>) -> Answer {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}
