//! Nobody uses a target: it is put to sleep step by step, and whoever comes meanwhile loses nothing.

use std::collections::{BTreeMap, BTreeSet};
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
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);
        let pid = pid_of(&stack.control.events());
        assert!(is_alive(pid), "its process must run while it is used");

        stack.control.wait_for("web", "asleep").await;

        let events = stack.control.events();
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

    async fn whoever_comes_while_it_falls_asleep_is_answered_once(stack: StackBuilder) {
        let landed = check_cycles(stack, DELAYS, &AIMS, cycles()).await;
        for phase in ["draining", "confirmed", "stopping"] {
            let count = landed.get(phase).copied().unwrap_or(0);
            assert!(count >= LANDED, "{count} requests only began in {phase}: the run proves nothing: {landed:?}");
        }
    }

    /// The delays give everybody time to hear of a step before the next. So once without, aimed at the few milliseconds
    /// in which the proxies confirm, the workload is stopped, and the proxies hear of that.
    async fn whoever_comes_while_it_falls_asleep_at_once_is_answered_once(stack: StackBuilder) {
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
    /// When each request was sent; its index is its id.
    sent: Vec<u64>,
    /// The first of each burst.
    firsts: BTreeSet<usize>,
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
            firsts: BTreeSet::new(),
            pending: Vec::new(),
            turns: 0,
            random: unix_ms() | 1,
        }
    }

    /// One pause and one burst.
    async fn turn(&mut self) {
        self.turns += 1;
        if self.turns == 1 {
            // Somebody has to come first.
        } else if self.turns.is_multiple_of(2) {
            // The idle time, and what comes before and after it until the workload is gone.
            let pause = 100 + self.below(250);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        } else {
            let aim = self.aims[self.turns / 2 % self.aims.len()];
            assert!(
                self.events.next(aim, SECOND * 10).await,
                "it must get to {aim} when nobody comes"
            );
            let offset = self.below(2) * self.below(5);
            tokio::time::sleep(Duration::from_millis(offset)).await;
        }
        self.firsts.insert(self.sent.len());
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
    async fn all_answered(self, stack: &Stack) {
        for (id, call) in self.pending.into_iter().enumerate() {
            let reply = call.reply().await;
            let sent = self.sent[id];
            assert_eq!(reply.status, 200, "request {id}, sent at {sent}: {reply:?}");
            let held = reply.held().is_some()
                || !self.firsts.contains(&id)
                || !must_be_held(&self.events.seen, sent);
            assert!(
                held,
                "request {id}, sent at {sent}, must not pass when all have confirmed that they hold"
            );
        }
        let journal = stack.journal("web");
        let mut seen = BTreeMap::<String, usize>::new();
        for request in journal.requests() {
            *seen.entry(request.id.clone().unwrap_or_default()).or_default() += 1;
        }
        let once = (0..self.sent.len()).map(|id| (id.to_string(), 1)).collect();
        assert_eq!(seen, once, "the workload must have seen each exactly once");
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
        if let (Some(step), _) = around(events, *at) {
            *landed.entry(step.event.clone()).or_default() += 1;
        }
    }
    landed
}

/// True for what was sent after the last confirm of a drain that it alone can have turned back.
fn must_be_held(events: &[Event], sent: u64) -> bool {
    let (before, after) = around(events, sent);
    before.is_some_and(|step| step.event == "confirmed") && after.is_some_and(|step| step.why != "used")
}

/// The steps between which a request was sent. Of the millisecond of a step itself nobody knows on which side of it.
fn around(events: &[Event], sent: u64) -> (Option<&Event>, Option<&Event>) {
    let steps = ["asleep", "waking", "ready", "draining", "confirmed", "stopping"];
    let is_step = |event: &&Event| event.target == TARGET && steps.contains(&event.event.as_str());
    let before = events
        .iter()
        .filter(is_step)
        .take_while(|step| step.unix_ms < sent)
        .last();
    (
        before,
        events.iter().filter(is_step).find(|step| step.unix_ms >= sent),
    )
}

fn pid_of(events: &Events) -> i32 {
    let started = events.seen.iter().rfind(|event| event.event == "started");
    started.expect("a process was started").pid
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
