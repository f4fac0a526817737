//! The fleet's commands, each handed to the reconciler of its target.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use protocol::TargetId;

use super::context::Context;
use super::reconciler::Handle;
use fleet::command::{Command, Sighting};
use fleet_actor::Backend;

/// One reconciler for each adopted target. They end with it.
pub struct Kubernetes {
    context: Context,
    reconcilers: BTreeMap<TargetId, Handle>,
}

impl Kubernetes {
    /// No target yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            reconcilers: BTreeMap::new(),
        }
    }
}

impl Backend for Kubernetes {
    fn carry_out(&mut self, command: Command) -> Vec<Sighting> {
        match command {
            Command::Adopt { spec } => match self.reconcilers.get(&spec.id) {
                Some(reconciler) => reconciler.adopt(spec),
                None => {
                    let id = spec.id.clone();
                    self.reconcilers
                        .insert(id, Handle::start(self.context.clone(), spec));
                }
            },
            Command::Rename { from, spec } => {
                if let Some(reconciler) = self.reconcilers.remove(&from) {
                    let id = spec.id.clone();
                    reconciler.adopt(spec);
                    self.reconcilers.insert(id, reconciler);
                }
            }
            Command::Start {
                id,
                command,
                cause: _,
            } => {
                if let Some(reconciler) = self.reconcilers.get(&id) {
                    reconciler.up(command);
                }
            }
            Command::Stop { id, command, from } => {
                if let Some(reconciler) = self.reconcilers.get(&id) {
                    reconciler.down(command, from);
                }
            }
            Command::Release { id } => drop(self.reconcilers.remove(&id)),
            // Only the manual backend has something to toggle, and endpoints are watched.
            Command::Toggle { .. } | Command::Look { .. } => {}
        }
        Vec::new()
    }

    fn shut_down(self) -> BoxFuture<'static, ()> {
        // What runs in the cluster goes on: it is not ours to end.
        std::future::ready(()).boxed()
    }
}
