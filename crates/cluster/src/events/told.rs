//! Turns what happens to targets into the Events that their owners read. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TargetId;

use fleet::FleetEvent;
use fleet::lifecycle::Reason;
use fleet::line::one_line;

/// Longest text of an Event that the API server takes, in bytes.
const MAX_TEXT: usize = 1024;

/// What to tell about one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Which.
    pub target: TargetId,
    /// A person should look.
    pub warning: bool,
    /// In one word.
    pub reason: &'static str,
    /// What was done or tried.
    pub action: &'static str,
    /// In one sentence.
    pub text: String,
}

/// Turns events into what the owner of a target wants to read. Pure.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Why targets are on their way to sleep. As many as are draining or stopping.
    going: BTreeMap<TargetId, Reason>,
    /// Documents that cannot be used, and why. As many as there are ScaleTargets.
    invalid: BTreeMap<TargetId, String>,
}

impl History {
    /// What an event tells, if anything.
    pub(super) fn told(&mut self, event: FleetEvent) -> Option<Told> {
        match event {
            FleetEvent::Moved {
                target,
                from,
                to,
                why,
                woke_in,
                by,
                failure,
                ..
            } => match (from, to) {
                (_, "draining") => {
                    self.going.insert(target, why);
                    None
                }
                (_, "stopping") => {
                    // The confirms end a drain; why it began is what people want to know.
                    if why != Reason::Confirmed {
                        self.going.insert(target, why);
                    }
                    None
                }
                ("stopping", "asleep") => {
                    let why = self.going.remove(&target).unwrap_or(why);
                    Some(Told::normal(target, "PutToSleep", "Sleep", &asleep(why)))
                }
                ("draining" | "stopping", "ready" | "waking") => {
                    self.going.remove(&target);
                    Some(Told::normal(target, "DrainGivenUp", "Sleep", &given_up(why)))
                }
                (_, "failed") => {
                    self.going.remove(&target);
                    let text = failure.map_or_else(|| "it cannot start".to_owned(), |failure| failure.reason);
                    Some(Told::warning(target, "Failed", "Wake", &text))
                }
                (_, "ready") => {
                    let by = by.map_or_else(|| "an unknown caller".to_owned(), |by| by.to_string());
                    let took = people(woke_in?);
                    Some(Told::normal(
                        target,
                        "Woken",
                        "Wake",
                        &format!("woken by {by}, ready after {took}"),
                    ))
                }
                _ => {
                    self.going.remove(&target);
                    None
                }
            },
            FleetEvent::Refused { target, refusal } => Some(Told::normal(
                target,
                "Refused",
                "Refuse",
                &format!("what was asked is refused: {refusal}"),
            )),
            FleetEvent::Contended {
                target,
                by,
                times,
                wait,
            } => {
                let by = by.as_deref().unwrap_or("another manager");
                let wait = people(wait);
                let text = format!("{by} has undone {times} wakes in a row: the next start waits {wait}");
                Some(Told::warning(target, "Contended", "Wake", &text))
            }
            FleetEvent::Dropped(target) => {
                self.going.remove(&target);
                None
            }
            _ => None,
        }
    }

    /// What is new among the documents that cannot be used.
    pub(super) fn invalid(&mut self, now: BTreeMap<TargetId, String>) -> Vec<Told> {
        let new = now.iter().filter(|(id, why)| self.invalid.get(*id) != Some(*why));
        let told = new.map(|(id, why)| Told::warning(id.clone(), "Invalid", "Read", why));
        let told = told.collect();
        self.invalid = now;
        told
    }
}

impl Told {
    fn normal(target: TargetId, reason: &'static str, action: &'static str, text: &str) -> Self {
        Self {
            target,
            warning: false,
            reason,
            action,
            text: one_line(text, MAX_TEXT),
        }
    }

    fn warning(target: TargetId, reason: &'static str, action: &'static str, text: &str) -> Self {
        Self {
            warning: true,
            ..Self::normal(target, reason, action, text)
        }
    }
}

fn asleep(why: Reason) -> String {
    let why = match why {
        Reason::Idle => "no request has used it for its idle time",
        Reason::Asked => "a person asked for it",
        Reason::SetByOthers => "another manager has set its replicas to zero",
        Reason::Finished => "it has ended by itself",
        _ => return format!("scaled to zero ({why}); requests are held from now on"),
    };
    format!("{why}; requests are held from now on")
}

fn given_up(why: Reason) -> String {
    match why {
        Reason::InUse => "not put to sleep: something is held or in flight".to_owned(),
        Reason::Used => "not put to sleep: it was used just before".to_owned(),
        Reason::Unconfirmed => "not put to sleep: not every proxy confirmed in time that it holds".to_owned(),
        Reason::Abandoned | Reason::SetByOthers => {
            "not put to sleep: another manager has set its replicas, and they stand".to_owned()
        }
        Reason::Lost => "not put to sleep: its endpoints were lost, so it is being woken".to_owned(),
        _ => format!("not put to sleep ({why})"),
    }
}

/// To a hundredth of a second.
fn people(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}
