//! Requests through Envoy, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::kube::KubeStack;
use futures_util::future::join_all;
use harness::{Client, Pending, Reply};

/// Between two requests of the light load.
const PACE: Duration = Duration::from_millis(50);

/// A client that asks again and again.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(Vec<Reply>, usize)>,
}

impl Load {
    /// Its requests have ids from `first` on.
    pub(crate) fn start(client: Client, first: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            let mut calls = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                pace.tick().await;
                let id = first + calls.len();
                calls.push(client.get(&format!("/hello?id={id}")).spawn());
            }
            let sent = calls.len();
            (join_all(calls.into_iter().map(Pending::reply)).await, sent)
        });
        Self { ends, task }
    }

    /// All answers, and how many requests there were.
    pub(crate) async fn end(self) -> (Vec<Reply>, usize) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

pub(crate) fn hold(stack: &KubeStack, name: &str, ids: std::ops::Range<usize>) -> Vec<Pending> {
    let client = stack.client(name);
    ids.map(|id| client.get(&format!("/hello?id={id}")).spawn())
        .collect()
}

pub(crate) async fn all_answered(held: Vec<Pending>) {
    for reply in join_all(held.into_iter().map(Pending::reply)).await {
        assert_eq!(reply.status, 200, "must be answered: {reply:?}");
    }
}

/// Every id from 0 on has arrived, and once.
pub(crate) fn check_arrived_once(stack: &KubeStack, name: &str, count: usize) {
    let journal = stack.journal(name);
    let requests = journal.requests();
    let mut arrived: Vec<usize> = requests
        .iter()
        .filter_map(|request| request.id.as_ref()?.parse().ok())
        .collect();
    arrived.sort_unstable();
    assert_eq!(
        arrived,
        (0..count).collect::<Vec<_>>(),
        "{name}: each request must arrive, and once"
    );
    assert!(
        journal.after_sigterm().is_empty(),
        "{name}: none must arrive after SIGTERM"
    );
}
