//! An idle target is put to sleep step by step, and requests that come meanwhile lose nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Client, Event, Events, Pending, Stack, StackBuilder, Target, both_relays, holds_for, unix_ms};

const SECOND: Duration = Duration::from_secs(1);
const TARGET: &str = "default/web";
/// Sleeps in the long test. `HOLDFAST_CYCLES` asks for another number.
const CYCLES: usize = 60;
/// How much longer each step takes.
const DELAYS: &str = "draining=60ms,stopping=60ms,asleep=40ms,ready=10ms";
/// Steps that bursts wait for.
const AIMS: [&str; 6] = [
    "draining",
    "terminating",
    "confirmed",
    "stopping",
    "draining",
    "reaped",
];
/// Requests that must have begun in each phase of the way down.
const LANDED: usize = 5;

both_relays! {
    async fn an_idle_target_goes_step_by_step_and_its_process_is_gone(stack: StackBuilder) {
        let stack = mk_stack(stack, "300ms", "").await;
        let reply = stack.client("web").get("/hello").send().await;
        assert_eq!(reply.status, 200);
        let mut events = stack.control.events();
        let pid = events.find("start", |event| event.event == "started").await.pid;
        // On a busy machine the process may be gone by the time that the answer is looked at.
        let answered = reply.header("x-upstream-pid").map(str::to_owned);
        assert_eq!(answered, Some(pid.to_string()), "its process must answer");

        stack.control.wait_for("web", "asleep").await;

        events.find("sleep", |event| event.event == "asleep").await;
        let phases = ["waking", "ready", "draining", "stopping", "asleep"];
        let path: Vec<_> = events.seen.iter().filter(|event| phases.contains(&event.event.as_str())).collect();
        let names: Vec<_> = path.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names, phases, "must take every step once and in this order");
        assert_eq!((path[2].why.as_str(), path[3].why.as_str()), ("idle", "confirmed"), "{path:?}");
        assert!(path[2].unix_ms >= path[1].unix_ms + 300, "must be idle for 300 ms first: {path:?}");
        assert!(!is_alive(pid), "its process must be gone when it is asleep");
        assert!(stack.journal("web").after_sigterm().is_empty(), "nothing must have reached it after its SIGTERM");
    }

    async fn an_open_websocket_keeps_its_target_up(stack: StackBuilder) {
        let stack = mk_stack(stack, "200ms", "").await;
        let mut socket = stack.websocket("web").await.unwrap();
        assert_eq!(socket.echo("one").await.unwrap(), "one");

        holds_for("it is up", SECOND * 3, || async {
            matches!(stack.control.state("web").await.as_str(), "ready" | "draining")
        })
        .await;

        assert_eq!(socket.echo("two").await.unwrap(), "two", "the WebSocket must still be open");
        assert_eq!(stack.control.events().count("stopping"), 0, "an open WebSocket is use");
        socket.close().await.unwrap();
        stack.control.wait_for("web", "asleep").await;
    }

    async fn requests_that_come_while_it_falls_asleep_are_answered_once(stack: StackBuilder) {
        let landed = check_cycles(stack, DELAYS, &AIMS, cycles()).await;
        for phase in ["draining", "confirmed", "stopping"] {
            let count = landed.get(phase).copied().unwrap_or(0);
            assert!(count >= LANDED, "{count} requests only began in {phase}: the run proves nothing: {landed:?}");
        }
    }

    /// The delays give proxies and backend time to hear of a step before the next. So once without, aimed at the few
    /// milliseconds in which the proxies confirm, the workload is stopped, and the proxies hear of that.
    async fn requests_that_come_while_it_falls_asleep_at_once_are_answered_once(stack: StackBuilder) {
        check_cycles(stack, "", &["draining"], cycles() / 3).await;
    }
}

fn cycles() -> usize {
    std::env::var("HOLDFAST_CYCLES").map_or(CYCLES, |text| text.parse().unwrap())
}

/// So many sleeps under load, and where the requests landed.
async fn check_cycles(
    stack: StackBuilder,
    delays: &'static str,
    aims: &'static [&'static str],
    cycles: usize,
) -> BTreeMap<String, usize> {
    let stack = mk_stack(stack, "150ms", delays).await;
    let mut load = Load::new(&stack, aims).await;
    while load.events.count("asleep") < cycles {
        load.turn().await;
    }
    let landed = landed(&load.events.seen, &load.sent);
    println!(
        "{} requests, {cycles} sleeps, begun in {landed:?}",
        load.sent.len()
    );
    load.all_answered(&stack).await;
    landed
}

async fn mk_stack(stack: StackBuilder, idle: &str, delays: &'static str) -> Stack {
    let quick = [
        "--log-format",
        "json",
        "--heartbeat",
        "200ms",
        "--lease-duration",
        "50ms",
    ];
    let control = move |control: harness::ControlBuilder| control.args(quick).args(["--test-delay", delays]);
    stack
        .target(Target::http("web").idle(idle))
        .control(control)
        .start()
        .await
}

/// Bursts of requests whose pauses lie around the idle time, and some that aim at a step of the way down.
struct Load {
    events: Events,
    /// What every other burst waits for, in turn.
    aims: &'static [&'static str],
    /// Two connections over HTTP/2, likely of different workers, and a new connection each time.
    clients: Vec<Client>,
    /// When each request was given to its client, which sends it then or, on a busy machine, some time later; its index is its id.
    sent: Vec<u64>,
    pending: Vec<Pending>,
    turns: usize,
    random: u64,
}

impl Load {
    async fn new(stack: &Stack, aims: &'static [&'static str]) -> Self {
        let client = stack.client("web");
        Self {
            events: stack.control.events(),
            aims,
            clients: vec![client.http2().await, client.http2().await, client],
            sent: Vec::new(),
            pending: Vec::new(),
            turns: 0,
            random: unix_ms() | 1,
        }
    }

    /// One pause and one burst.
    async fn turn(&mut self) {
        self.turns += 1;
        if self.turns == 1 {
            // The target sleeps until the first burst.
        } else if self.turns.is_multiple_of(2) {
            // The idle time, and what comes before and after it until the workload is gone.
            let pause = 100 + self.below(250);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        } else {
            let aim = self.aims[self.turns / 2 % self.aims.len()];
            assert!(
                self.events.next(aim, SECOND * 10).await,
                "it must get to {aim} when no request comes"
            );
            let offset = self.below(2) * self.below(5);
            tokio::time::sleep(Duration::from_millis(offset)).await;
        }
        for _ in 0..=self.below(4) {
            let client = &self.clients[self.sent.len() % self.clients.len()];
            let call = client.get(&format!("/hello?id={}", self.sent.len()));
            self.sent.push(unix_ms());
            self.pending.push(call.spawn());
            let gap = self.below(3);
            tokio::time::sleep(Duration::from_millis(gap)).await;
        }
        self.events.read();
    }

    /// Every request was answered with 200 by the workload, which saw each exactly once and none too late.
    async fn all_answered(mut self, stack: &Stack) {
        let mut replies = Vec::new();
        for call in self.pending {
            replies.push(call.reply().await);
        }
        let journal = stack.journal("web");
        let last = journal
            .arrivals()
            .iter()
            .map(|(at, _)| *at)
            .max()
            .unwrap_or_default();
        let is_last_sleep = |event: &Event| event.event == "asleep" && event.unix_ms > last;
        self.events
            .find("sleep after the last request", is_last_sleep)
            .await;
        let mut seen = BTreeMap::<usize, Vec<u64>>::new();
        for (at, request) in journal.arrivals() {
            let id = request.id.as_ref().expect("each request has an id").parse();
            seen.entry(id.expect("which is a number")).or_default().push(at);
        }
        for (id, (reply, sent)) in replies.iter().zip(&self.sent).enumerate() {
            assert_eq!(reply.status, 200, "request {id}, sent at {sent}: {reply:?}");
            let seen = seen.remove(&id).unwrap_or_default();
            let [arrived] = seen[..] else {
                panic!("the workload must have seen request {id} exactly once: {seen:?}");
            };
            assert!(
                reply.held().is_some() || may_pass(&self.events.seen, *sent, arrived),
                "request {id}, sent at {sent}, arrived at {arrived}, must not pass when all have confirmed that they hold"
            );
        }
        assert!(
            seen.is_empty(),
            "the workload must have seen nothing else: {seen:?}"
        );
        let late = journal.after_sigterm();
        assert!(late.is_empty(), "nothing must begin after SIGTERM: {late:?}");
    }

    /// Xorshift: a spread, no secrets.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// How many requests were sent in each step. `draining` lasts until the last confirm, `confirmed` from then until the
/// decision to stop, `stopping` until asleep.
fn landed(events: &[Event], sent: &[u64]) -> BTreeMap<String, usize> {
    let mut landed = BTreeMap::new();
    for at in sent {
        if let Some(step) = step_before(events, *at) {
            *landed.entry(step.event.clone()).or_default() += 1;
        }
    }
    landed
}

/// True if a request may have passed without being held, at a moment that is not known: after it was sent and before it arrived at
/// the workload. It may not if every proxy held from before the one until after the other.
fn may_pass(events: &[Event], sent: u64, arrived: u64) -> bool {
    let holds = ["confirmed", "stopping", "asleep", "waking"];
    let is_held_for = step_before(events, sent).is_some_and(|step| holds.contains(&step.event.as_str()));
    let is_ready = |step: &&Event| step.event == "ready" && (sent..=arrived).contains(&step.unix_ms);
    !is_held_for || steps(events).any(|step| is_ready(&step))
}

/// The last step before this moment. Of the millisecond of a step itself it is not known on which side of the step it is.
fn step_before(events: &[Event], unix_ms: u64) -> Option<&Event> {
    steps(events).take_while(|step| step.unix_ms < unix_ms).last()
}

fn steps(events: &[Event]) -> impl Iterator<Item = &Event> {
    let steps = ["asleep", "waking", "ready", "draining", "confirmed", "stopping"];
    events
        .iter()
        .filter(move |event| event.target == TARGET && steps.contains(&event.event.as_str()))
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
