//! Two replicas of the control plane, told apart in the audit log by their service accounts.

use std::time::Duration;

use e2e::kube::audit::Request;
use e2e::kube::{KubeStack, KubeStackBuilder, NAMESPACE, account};
use harness::{Control, Event, eventually};

pub(crate) const WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn two_replicas(lease: &str) -> KubeStackBuilder {
    KubeStack::builder().replicas(2).own_accounts().lease(lease)
}

/// Two replicas, told apart by their service accounts.
pub(crate) struct Ha {
    pub(crate) stack: KubeStack,
}

impl Ha {
    pub(crate) async fn start(builder: KubeStackBuilder) -> Option<Self> {
        let stack = builder.start().await?;
        Some(Self { stack })
    }

    pub(crate) fn control(&self, n: usize) -> &Control {
        &self.stack.controls[n]
    }

    /// The one that leads, and the other, which stands by.
    pub(crate) async fn pair(&self) -> (usize, usize) {
        let leader = eventually("a replica leads", WITHIN, || async {
            for n in 0..2 {
                if self.control(n).is_ready().await {
                    return Some(n);
                }
            }
            None
        })
        .await;
        eventually("the other stands by", WITHIN, || async {
            self.count(1 - leader, "standby") > 0
        })
        .await;
        (leader, 1 - leader)
    }

    pub(crate) async fn leads(&self, n: usize) {
        eventually("the other leads", WITHIN, || self.control(n).is_ready()).await;
    }

    /// Starts a replica that has ended. Waits until it stands by.
    pub(crate) async fn restart(&mut self, n: usize) {
        let control = &mut self.stack.controls[n];
        eventually("it has ended", WITHIN, || async {
            control.process().exited().is_some()
        })
        .await;
        let before = self.count(n, "standby");
        self.stack.controls[n].relaunch();
        eventually("it stands by", WITHIN, || async {
            self.count(n, "standby") > before
        })
        .await;
    }

    pub(crate) fn events(&self, n: usize, event: &str) -> Vec<Event> {
        let events = self.control(n).events();
        events
            .seen
            .into_iter()
            .filter(|seen| seen.event == event)
            .collect()
    }

    pub(crate) fn count(&self, n: usize, event: &str) -> usize {
        self.events(n, event).len()
    }

    pub(crate) fn last(&self, n: usize, event: &str) -> Event {
        self.events(n, event)
            .pop()
            .unwrap_or_else(|| panic!("{n} must have said {event}"))
    }

    pub(crate) fn user(&self, n: usize) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{}", account(n))
    }

    /// What both replicas have written or tried to; of the lease only what was taken: to try is how it is asked for.
    pub(crate) fn all_writes(&self) -> Vec<Request> {
        let audit = self.stack.cluster.audit();
        let users = [self.user(0), self.user(1)];
        let is_theirs = |request: &Request| users.contains(&request.user) && request.is_write();
        let counts = |request: &Request| request.resource != "leases" || (200..300).contains(&request.code);
        audit
            .requests
            .into_iter()
            .filter(|request| is_theirs(request) && counts(request))
            .collect()
    }

    pub(crate) fn writes(&self, subresource: &str) -> Vec<Request> {
        let writes = self.all_writes().into_iter();
        writes.filter(|write| write.subresource == subresource).collect()
    }

    /// Everything that a workload's replicas were set to, by any client.
    pub(crate) fn replicas_set(&self, name: &str) -> Vec<i32> {
        let set = self.stack.scales.of("default", name);
        set.iter().map(|one| one.replicas).collect()
    }
}
