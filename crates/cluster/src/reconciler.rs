//! One task for each target: carries its orders out, one after the other, and tells the fleet what it sees.
//!
//! Decides nothing about when to scale. Ends when its handle is dropped: what is written then is taken up by the next
//! reader, for every write names the version that was read.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::context::Context;
use super::names::Key;
use super::resource::Scalable;
use super::scale::{self, Done, Scaler};
use super::workload_view::WorkloadView;
use fleet::config::{ScaleTarget, Workload};
use fleet_actor::Gone;

/// What a reconciler has been told to do last. A later one overrides an earlier one.
#[derive(Clone, Debug)]
struct Orders {
    spec: Arc<ScaleTarget>,
    /// Number of the wish; 0: none yet.
    command: u64,
    wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// As it is.
    Leave,
    /// Up from zero.
    Up,
    /// Down to zero.
    Down { from: u32 },
}

/// A running reconciler. Dropping it ends it.
#[derive(Debug)]
pub struct Handle {
    orders: watch::Sender<Orders>,
    _task: AbortOnDropHandle<()>,
}

impl Handle {
    /// Starts a reconciler that only looks, for now.
    pub fn start(context: Context, spec: Arc<ScaleTarget>) -> Self {
        let (orders, receiver) = watch::channel(Orders {
            spec,
            command: 0,
            wish: Wish::Leave,
        });
        let task = tokio::spawn(async move {
            // Only the end of the fleet ends it, and then there is no one left to tell.
            let _ = run(context, receiver).await;
        });
        Self {
            orders,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Its document has changed.
    pub fn adopt(&self, spec: Arc<ScaleTarget>) {
        self.orders.send_modify(|orders| orders.spec = spec);
    }

    /// To scale it up from zero, under the number `command`.
    pub fn up(&self, command: u64) {
        self.wish(command, Wish::Up);
    }

    /// To scale it down to zero if there are `from` replicas, under the number `command`.
    pub fn down(&self, command: u64, from: u32) {
        self.wish(command, Wish::Down { from });
    }

    fn wish(&self, command: u64, wish: Wish) {
        self.orders.send_modify(|orders| {
            orders.command = command;
            orders.wish = wish;
        });
    }
}

async fn run(context: Context, mut orders: watch::Receiver<Orders>) -> Result<(), Gone> {
    let mut known = Arc::clone(&orders.borrow().spec);
    let mut view = WorkloadView::new(&context, &known);
    let mut scaler: Option<Scaler> = None;
    loop {
        let Orders { spec, command, wish } = orders.borrow_and_update().clone();
        view.turn_to(&context, &spec);
        if known.workload != spec.workload {
            if let Some(mut scaler) = scaler.take() {
                // Should the workload be this one again, nothing must be told of it that may still be undone.
                scaler.settle().await;
            }
            if let Wish::Down { .. } = wish {
                // What was decided about one workload is not done to another: it stands as it is seen.
                view.obey(command, None);
            }
        }
        known = Arc::clone(&spec);
        view.tell(&context).await?;
        let scaler = match (&mut scaler, view.scalable()) {
            (Some(scaler), _) => Some(scaler),
            (none, Some(scalable)) => Some(none.insert(mk_scaler(&context, &scalable, &spec))),
            (_, None) => None,
        };
        let order = (command > view.command())
            .then(|| wish.order(spec.wake_replicas))
            .flatten();
        match (order, scaler) {
            // Nothing can be written: that is what there is to be told.
            (Some(_), scaler) if view.is_unusable(scaler.is_some()) => {
                view.obey(command, None);
                continue;
            }
            (Some(order), Some(scaler)) => {
                let news = orders.changed();
                if let Some(done) = carry_out(&context, &mut view, scaler, order, command, news).await? {
                    tell_written(&spec, order, &done);
                    view.obey(command, Some(done));
                }
                continue;
            }
            (None, Some(scaler)) if let Some(generation) = view.needs_scale() => {
                let read = tokio::select! {
                    read = scaler.read() => Some(read),
                    changed = orders.changed() => changed.map(|()| None).map_err(|_| Gone)?,
                };
                if let Some(read) = read {
                    view.take_scale(generation, read);
                }
                // Or there are other orders, which would not be told again.
                continue;
            }
            _ => {}
        }
        tokio::select! {
            changed = orders.changed() => changed.map_err(|_| Gone)?,
            () = view.changed() => {}
        }
    }
}

/// Carries an order out, and goes on telling what is seen meanwhile. `None`: there is a newer order.
async fn carry_out(
    context: &Context,
    view: &mut WorkloadView,
    scaler: &mut Scaler,
    order: scale::Order,
    command: u64,
    newer: impl Future<Output = Result<(), watch::error::RecvError>>,
) -> Result<Option<Done>, Gone> {
    let (told, mut trouble) = watch::channel(None);
    let writing = scaler.carry_out(order, move |failure| {
        told.send_replace(failure);
    });
    tokio::pin!(writing, newer);
    loop {
        tokio::select! {
            done = &mut writing => {
                view.trouble(None);
                return Ok(Some(done));
            }
            changed = &mut newer => {
                view.trouble(None);
                return changed.map(|()| None).map_err(|_| Gone);
            }
            Ok(()) = trouble.changed() => {
                let failure = trouble.borrow_and_update().clone();
                if failure.is_some() {
                    // The reconciler goes on trying, but held requests are told.
                    view.obey(command, None);
                }
                view.trouble(failure);
            }
            () = view.changed() => {}
        }
        view.tell(context).await?;
    }
}

impl Wish {
    fn order(self, wake_replicas: NonZeroU32) -> Option<scale::Order> {
        match self {
            Self::Leave => None,
            Self::Up => Some(scale::Order::Up(wake_replicas)),
            Self::Down { from } => Some(scale::Order::Down { from }),
        }
    }
}

fn mk_scaler(context: &Context, scalable: &Scalable, spec: &ScaleTarget) -> Scaler {
    let name = match &spec.workload {
        Workload::Object { name, .. } => name.as_str(),
        // Not in a cluster: the schema requires it.
        Workload::Unnamed | Workload::Process(_) => "",
    };
    Scaler::new(
        context.client.clone(),
        scalable,
        &Key::of_target(&spec.id).namespace,
        name,
        context.fence.clone(),
        context.metrics.clone(),
    )
}

fn tell_written(spec: &ScaleTarget, order: scale::Order, done: &Done) {
    let Done { outcome, scale } = done;
    let (outcome, replicas) = (outcome.name(), scale.replicas);
    info!(
        event = "scaled",
        target = %spec.id,
        %order,
        outcome,
        replicas,
        resource_version = scale.version.as_str(),
        unix_ms = fleet_actor::unix_ms(),
        "{order}: {outcome}, {replicas} replicas",
    );
}
