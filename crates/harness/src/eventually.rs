//! Waiting for conditions. Tests never sleep in the hope that something has happened meanwhile.

use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something, and returns that. Panics after `within` with `what` did not come true.
///
/// ```ignore
/// let target = eventually("web is asleep", secs(5), || async { control.state("web").await == "asleep" }).await;
/// ```
#[track_caller]
pub fn eventually<T, C, F>(what: &str, within: Duration, mut condition: C) -> impl Future<Output = T::Out>
where
    T: Outcome,
    C: FnMut() -> F,
    F: Future<Output = T>,
{
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        loop {
            if let Some(out) = condition().await.into_outcome() {
                return out;
            }
            assert!(start.elapsed() < within, "{place}: not within {within:?}: {what}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Looks at `condition` again and again for the whole of `period`. Panics as soon as it is false.
///
/// For what must *not* happen; the period is part of the claim.
#[track_caller]
pub fn holds_for<C, F>(what: &str, period: Duration, mut condition: C) -> impl Future<Output = ()>
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while start.elapsed() < period {
            assert!(
                condition().await,
                "{place}: no longer true after {:?}: {what}",
                start.elapsed()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What a condition may give: `bool`, or `Option` of something the test goes on with.
pub trait Outcome {
    /// What the test goes on with.
    type Out;
    /// `None`: not yet.
    fn into_outcome(self) -> Option<Self::Out>;
}

impl Outcome for bool {
    type Out = ();
    fn into_outcome(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Out = T;
    fn into_outcome(self) -> Option<T> {
        self
    }
}
