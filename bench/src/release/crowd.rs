//! The clients of `release`: the same for what is held and for what goes directly.

use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use harness::{Client, Reply};
use tokio::task::JoinHandle;

type Call = JoinHandle<anyhow::Result<(Reply, Instant)>>;

/// All answers, and when the last of them was there.
pub(super) struct Answered {
    pub(super) last: Instant,
    pub(super) replies: Vec<Reply>,
}

/// HTTP/2 connections.
pub(super) async fn connect(client: &Client, connections: usize) -> Vec<Client> {
    join_all((0..connections).map(|_| client.http2())).await
}

/// Sends so many on one connection, one after the other, without waiting for answers. Their ids begin at `first`.
pub(super) fn send_in_order(client: &Client, first: usize, streams: usize, delay: &str) -> Vec<Call> {
    let send = |id: usize| {
        let mut call = Box::pin(timed(client.clone(), path(id, delay)));
        // The first poll hands the request to the connection; only then may the next one be sent.
        assert!(
            call.as_mut().now_or_never().is_none(),
            "nothing can have answered yet"
        );
        tokio::spawn(call)
    };
    (first..first + streams).map(send).collect()
}

/// Waits for all of them. Panics if there is one without an answer.
pub(super) async fn answers(calls: Vec<Call>) -> Answered {
    let mut replies = Vec::with_capacity(calls.len());
    let mut last = None;
    for call in calls {
        let (reply, at) = call.await.expect("no panic").expect("an answer");
        last = last.max(Some(at));
        replies.push(reply);
    }
    Answered {
        last: last.expect("at least one"),
        replies,
    }
}

/// Sends so many in all, on each connection one at a time, and says when the last was answered. Panics unless all are
/// answered with 200.
pub(super) async fn one_after_the_other(connections: &[Client], requests: usize, delay: &str) -> Instant {
    let each = connections.iter().enumerate().map(|(index, client)| {
        let (client, delay) = (client.clone(), delay.to_owned());
        let ids: Vec<usize> = (index..requests).step_by(connections.len()).collect();
        tokio::spawn(async move {
            let mut last = Instant::now();
            for id in ids {
                let (reply, at) = timed(client.clone(), path(id, &delay)).await.expect("an answer");
                assert_eq!(reply.status, 200, "{reply:?}");
                last = at;
            }
            last
        })
    });
    let ends = join_all(each.collect::<Vec<_>>()).await;
    ends.into_iter()
        .map(|end| end.expect("no panic"))
        .max()
        .expect("a connection")
}

async fn timed(client: Client, path: String) -> anyhow::Result<(Reply, Instant)> {
    let reply = client.get(&path).try_send().await?;
    Ok((reply, Instant::now()))
}

fn path(id: usize, delay: &str) -> String {
    format!("/slow?delay={delay}&id={id}")
}
