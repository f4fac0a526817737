//! A backend without workloads: whether a target is up is what a person last said, kept in memory.
//!
//! Demand alone starts nothing: the target stays waking, its requests held, until a person says that it is ready. Everything is
//! at zero when the control plane starts.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use protocol::TargetId;

use super::Backend;
use fleet::command::{Command, Sighting};
use fleet::lifecycle::{Cause, Observed};

/// Numbers instead of workloads.
#[derive(Debug, Default)]
pub struct Manual {
    workloads: BTreeMap<TargetId, Number>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Number {
    command: u64,
    replicas: u32,
}

impl Backend for Manual {
    fn carry_out(&mut self, command: Command) -> Vec<Sighting> {
        let (id, number) = match command {
            Command::Adopt { spec } => {
                self.workloads.entry(spec.id.clone()).or_default();
                return Vec::new();
            }
            Command::Rename { from, spec } => {
                let number = self.workloads.remove(&from).unwrap_or_default();
                self.workloads.insert(spec.id.clone(), number);
                return Vec::new();
            }
            Command::Release { id } => {
                self.workloads.remove(&id);
                return Vec::new();
            }
            Command::Start {
                id,
                command,
                cause: Cause::Demand | Cause::Retry | Cause::Lost,
            } => {
                // Left to a person: not carried out, so not told.
                self.workloads.entry(id).or_default().command = command;
                return Vec::new();
            }
            Command::Start {
                id,
                command,
                cause: Cause::Person | Cause::Retired,
            } => (id, Number { command, replicas: 1 }),
            Command::Stop { id, command, .. } => (id, Number { command, replicas: 0 }),
            // What a person has said stands.
            Command::Look { .. } => return Vec::new(),
            Command::Toggle { id } => {
                let before = self.workloads.get(&id).copied().unwrap_or_default();
                (
                    id,
                    Number {
                        replicas: 1 - before.replicas.min(1),
                        ..before
                    },
                )
            }
        };
        self.workloads.insert(id.clone(), number);
        let Number { command, replicas } = number;
        let seen = Observed {
            command,
            replicas,
            ready: replicas,
            left: replicas,
            absent: false,
            finished: false,
            failure: None,
            set_by: None,
        };
        vec![Sighting { id, seen }]
    }

    fn shut_down(self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_demand_to_a_person() {
        let mut manual = Manual::default();
        let seen = manual.carry_out(Command::Start {
            id: id(),
            command: 1,
            cause: Cause::Demand,
        });
        assert!(seen.is_empty(), "must not come up on demand");
        let seen = manual.carry_out(Command::Start {
            id: id(),
            command: 2,
            cause: Cause::Person,
        });
        assert_eq!(
            seen.first().map(|s| (s.seen.command, s.seen.ready)),
            Some((2, 1)),
            "must come up when poked"
        );
    }

    #[test]
    fn toggles() {
        let mut manual = Manual::default();
        let toggled = |manual: &mut Manual| {
            manual
                .carry_out(Command::Toggle { id: id() })
                .first()
                .map(|s| s.seen.replicas)
        };
        assert_eq!(toggled(&mut manual), Some(1), "must go up from zero");
        assert_eq!(toggled(&mut manual), Some(0), "must go back to zero");
    }

    #[test]
    fn toggles_up_what_is_waited_for() {
        let mut manual = Manual::default();
        manual.carry_out(Command::Start {
            id: id(),
            command: 7,
            cause: Cause::Demand,
        });
        let seen = manual.carry_out(Command::Toggle { id: id() });
        assert_eq!(
            seen.first().map(|s| s.seen.command),
            Some(7),
            "must count as the answer to the wake"
        );
    }

    fn id() -> TargetId {
        TargetId::new("default/web")
    }
}
