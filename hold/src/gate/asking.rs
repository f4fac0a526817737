//! Which questions a gate asks through its clusters, and what follows from the answers. The rules are in
//! [`crate::gate::confirm`].

use std::time::Duration;

use protocol::Confirm;

use crate::Time;
use crate::gate::Gate;
use crate::gate::confirm::{self, Check, ConfirmCall, ConfirmToken, Outcome, Tries};
use crate::gate::entry::Stance;

impl Gate {
    /// True if a root callback would have a question to send at this time: a stream callback may not send it.
    pub fn wants_root(&self, now: Time) -> bool {
        self.waiting.iter().filter_map(|ix| self.entry(*ix)).any(|entry| {
            entry.stance == Stance::Serve
                && !entry.needs_no_confirm()
                && !matches!(entry.target.confirm, Confirm::Off { .. })
                && entry.asks_from(self.me.id) <= now
                && entry
                    .routes
                    .iter()
                    .any(|route| !route.line.is_empty() && route.check == Check::Unasked)
        })
    }

    /// The next question to send through a cluster.
    pub fn poll_confirm(&mut self, now: Time) -> Option<ConfirmCall> {
        let me = self.me.id;
        let token = ConfirmToken(self.next_token);
        let waiting = &self.waiting;
        let entries = &mut self.entries;
        for ix in waiting {
            let Some(entry) = entries.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            if entry.stance != Stance::Serve || entry.needs_no_confirm() {
                continue;
            }
            if entry.asks_from(me) > now {
                continue;
            }
            let (path, timeout_ms) = match &entry.target.confirm {
                Confirm::Off { .. } => continue,
                Confirm::Http { path, timeout_ms, .. } => (Some(path), *timeout_ms),
                Confirm::Grpc { timeout_ms, .. } => (None, *timeout_ms),
            };
            for route in &mut entry.routes {
                let tries = match route.check {
                    _ if route.line.is_empty() => continue,
                    Check::Unasked => Tries::new(now),
                    Check::Waiting { again, tries } if again <= now => tries,
                    Check::Waiting { .. } | Check::Asking { .. } | Check::Yes => continue,
                };
                route.check = Check::Asking { token, tries };
                self.next_token += 1;
                return Some(ConfirmCall {
                    token,
                    cluster: route.cluster.to_vec(),
                    authority: route.authority.to_vec(),
                    path: path.cloned(),
                    timeout: Duration::from_millis(timeout_ms),
                });
            }
        }
        None
    }

    /// What came of a question. An answer to one that was asked in an earlier epoch changes nothing.
    pub fn confirmed(&mut self, now: Time, token: ConfirmToken, outcome: Outcome) {
        match outcome {
            Outcome::NoEndpoint => self.counts.confirm_no_endpoint += 1,
            Outcome::Unreachable => self.counts.confirm_unreachable += 1,
            Outcome::Answered { .. } => {}
        }
        let found =
            self.waiting
                .iter()
                .copied()
                .chain(self.active.iter().copied())
                .find_map(|ix| {
                    let entry = self.entry(ix)?;
                    entry
                .routes
                .iter()
                .position(|route| matches!(route.check, Check::Asking { token: asked, .. } if asked == token))
                .map(|at| (ix, at))
                });
        let Some((ix, at)) = found else { return };
        let Some(entry) = self.entry_mut(ix) else { return };
        let epoch = entry.target.epoch;
        let confirm = entry.target.confirm.clone();
        let id = entry.target.id.clone();
        let Some(route) = entry.routes.get_mut(at) else {
            return;
        };
        let cluster = String::from_utf8_lossy(&route.cluster).into_owned();
        let Check::Asking { tries, .. } = route.check else {
            return;
        };
        match confirm::judge(now, tries, outcome, &confirm) {
            confirm::Verdict::Yes => {
                route.check = Check::Yes;
                if entry.proven_here != Some(epoch) {
                    entry.proven_here = Some(epoch);
                    let news = entry.proven != Some(epoch);
                    self.row_urgent |= news;
                    self.row_changed = true;
                }
                self.counts.confirm_yes += 1;
                self.note("confirmed", ix, format_args!(" cluster={cluster}"));
                self.queue(ix);
            }
            confirm::Verdict::No { check, warn } => {
                route.check = check;
                if matches!(outcome, Outcome::Answered { .. }) {
                    self.counts.confirm_not_there += 1;
                }
                if warn {
                    self.counts.confirm_give_up += 1;
                    self.warnings.push_back(format!(
                        "target {id}: cluster {cluster} has not answered within confirm.giveUp ({outcome:?}); \
                         its requests stay held until their deadline"
                    ));
                }
            }
        }
    }
}
