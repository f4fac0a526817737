//! The fleet's commands, each handed to the keeper of its target.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use protocol::TargetId;

use super::context::Context;
use super::keeper::Handle;
use fleet::command::{Command, Sighting};
use fleet_actor::Backend;

/// One keeper for each adopted target. They end with it.
pub struct Kubernetes {
    context: Context,
    keepers: BTreeMap<TargetId, Handle>,
}

impl Kubernetes {
    /// No target yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            keepers: BTreeMap::new(),
        }
    }
}

impl Backend for Kubernetes {
    fn carry_out(&mut self, command: Command) -> Vec<Sighting> {
        match command {
            Command::Adopt { spec } => match self.keepers.get(&spec.id) {
                Some(keeper) => keeper.adopt(spec),
                None => {
                    let id = spec.id.clone();
                    self.keepers.insert(id, Handle::start(self.context.clone(), spec));
                }
            },
            Command::Rename { from, spec } => {
                if let Some(keeper) = self.keepers.remove(&from) {
                    let id = spec.id.clone();
                    keeper.adopt(spec);
                    self.keepers.insert(id, keeper);
                }
            }
            Command::Start {
                id,
                command,
                cause: _,
            } => {
                if let Some(keeper) = self.keepers.get(&id) {
                    keeper.up(command);
                }
            }
            Command::Stop { id, command, from } => {
                if let Some(keeper) = self.keepers.get(&id) {
                    keeper.down(command, from);
                }
            }
            Command::Release { id } => drop(self.keepers.remove(&id)),
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
