//! What may still be undone is not told as done: writes whose outcome is not known, and that land late.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_told_that_may_still_be_undone() {
    let fails = Scenario::Answer(500);
    let late = |seconds| Scenario::FailsAndLandsAfter(Duration::from_secs(seconds));
    for (plan, end) in [
        // The last of seven, the longest that it can take.
        ([&[fails; 6][..], &[late(10)]].concat(), 0),
        ([&[fails; 6][..], &[Scenario::FailsAndLands(2)]].concat(), 0),
        // One that the refused ones after it do not make undone.
        (vec![late(9), Scenario::Answer(422)], 0),
        (vec![late(9), Scenario::Answer(429), Scenario::Answer(422)], 0),
        (vec![late(9), Scenario::Answer(405)], 0),
        ([&[late(10)][..], &[Scenario::Answer(403); 6]].concat(), 0),
        // One that never lands.
        (vec![fails; 7], 3),
        (vec![Scenario::Answer(422)], 3),
    ] {
        let server = Server::new(3, plan.clone());
        let (told, done) = server.hear(Order::Down { from: 3 }).await;
        let failed_for = told.windows(2).map(|two| two[1].at - two[0].at).min();
        assert_eq!(
            told.iter().map(|told| told.failed).collect::<Vec<_>>(),
            if end == 0 { vec![] } else { vec![true, false] },
            "must tell of a failure if it is one: {plan:?}"
        );
        assert!(
            told.iter().all(|told| !told.may_change),
            "must not tell what may still be undone: {plan:?}"
        );
        assert!(
            failed_for.is_none_or(|time| !time.is_zero()),
            "must be heard: {plan:?}"
        );
        assert_eq!(
            (done.scale.replicas, server.writes().len()),
            (end, plan.len()),
            "must end with what is there, and write no more: {plan:?}"
        );
        sleep(Duration::from_secs(60)).await;
        assert_eq!(server.replicas(), end, "must not change afterwards: {plan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_certain_is_told_at_once() {
    let server = Server::new(3, [Scenario::Answer(422)]);
    let begun = Instant::now();
    let (told, _) = server.hear(Order::Down { from: 3 }).await;
    assert_eq!(told[0].at, begun, "must not wait for what cannot come");
    let server = Server::new(3, [Scenario::Answer(500); 7]);
    let begun = Instant::now();
    let (told, _) = server.hear(Order::Down { from: 3 }).await;
    let longest = Duration::from_secs(20);
    assert!(told[0].at - begun < longest, "must be told when it is certain");
}

#[tokio::test(start_paused = true)]
async fn a_failed_order_up_is_not_told_while_one_down_may_land() {
    // A proxy that hears of a failure lets requests pass to endpoints that are there.
    let late = Scenario::FailsAndLandsAfter(Duration::from_secs(9));
    let server = Server::new(3, [late]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_millis(10), down).await.is_err(),
        "must be under way"
    );
    server.state.lock().unwrap().refused_reads = 10;
    let (told, done) = server.hear_from(&mut scaler, up(1)).await;
    assert!(
        told[0].failed && told.iter().all(|told| !told.may_change),
        "must not tell what may still be undone"
    );
    assert_eq!(done.scale.replicas, 1, "must be up in the end");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_long_says_nothing_of_what_came_after_it() {
    // Under way for ten seconds and a half; a read that is answered a second before that arrives after the doubt's end.
    let server = Server::new(3, [Scenario::FailsAndLandsAfter(Duration::from_millis(10_500))]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_millis(1), down).await.is_err(),
        "must be under way"
    );
    server.state.lock().unwrap().reads_take = Duration::from_millis(3_100);
    let done = scaler.carry_out(up(1), |_| {}).await;
    assert_eq!(
        (done.scale.replicas, server.replicas()),
        (1, 1),
        "must not take the 3 for final that are about to go"
    );
}

#[tokio::test(start_paused = true)]
async fn a_workload_is_left_when_nothing_can_land_any_more() {
    let server = Server::new(3, [Scenario::FailsAndLandsAfter(Duration::from_secs(10))]);
    let mut scaler = server.scaler();
    scaler.settle().await;
    assert!(!server.is_under_way(), "must not wait for nothing");
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_millis(1), down).await.is_err(),
        "must be under way"
    );
    let begun = Instant::now();
    scaler.settle().await;
    assert!(!server.is_under_way(), "must wait for what may land");
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "must not wait for ever"
    );
}

/// What was told, and when.
struct Told {
    at: Instant,
    failed: bool,
    /// A write may still land.
    may_change: bool,
}

impl Server {
    async fn hear(&self, order: Order) -> (Vec<Told>, Done) {
        self.hear_from(&mut self.scaler(), order).await
    }

    async fn hear_from(&self, scaler: &mut Scaler, order: Order) -> (Vec<Told>, Done) {
        let mut told = Vec::new();
        let tell = |failure: Option<Failure>| {
            told.push(Told {
                at: Instant::now(),
                failed: failure.is_some(),
                may_change: self.is_under_way(),
            });
        };
        let done = scaler.carry_out(order, tell).await;
        (told, done)
    }
}
