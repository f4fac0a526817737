//! `bodies`: Envoy's memory while large uploads are held and let go.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use harness::{Client, Door, Envoy, EnvoyBuilder, Pending, Progress, Stack, Target, Upload, eventually};

use crate::args::Size;
use crate::proc;
use crate::report::Report;

const MB: u64 = 1_000_000;
const UPLOADS: u8 = 10;
const EACH: f64 = 3.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// A client that does not move for so long is blocked.
const STILL: Duration = Duration::from_millis(500);
/// From one look at Envoy's own word to the next.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes a second that the slow workload reads of each: five seconds for 50 MB.
const SLOW: u32 = 10_000_000;

/// How the uploads reach Envoy.
#[derive(Clone, Copy)]
enum Way {
    Http1,
    /// One HTTP/2 connection for each.
    Apart,
    /// Streams of one HTTP/2 connection.
    Together,
}

/// What was resident at the most, more than before and for each upload, in MB.
struct Peaks {
    held: f64,
    released: f64,
}

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let length = size.pick(50 * MB, 16 * MB);
    // Computed once, before anything runs.
    let sums: Vec<String> = (0..UPLOADS)
        .map(|seed| Upload::new(length, seed).sha256())
        .collect();
    let all = [Way::Http1, Way::Apart, Way::Together].map(|way| [(way, None), (way, Some(SLOW))]);
    let some = [(Way::Http1, None), (Way::Together, Some(SLOW))];
    for (way, rate) in size.pick(all.concat(), some.to_vec()) {
        let mut peaks = Vec::new();
        for _ in 0..size.rounds() {
            peaks.push(run(way, rate, length, &sums).await?);
        }
        add(report, way, rate, &peaks);
    }
    report.note(
        "Memory is the most that Envoy took, less what it took before the first upload was sent, by ten: resident (the kernel's \
         peak) or allocated (Envoy's own word, asked for every 10 ms), whichever grew more. Each run is a fresh Envoy.",
    );
    Ok(())
}

/// Ten uploads to a workload that sleeps, held until no client moves, then let go.
async fn run(way: Way, rate: Option<u32>, length: u64, sums: &[String]) -> anyhow::Result<Peaks> {
    let (cold, door) = Door::before(Target::http("cold"));
    let envoy = |envoy: EnvoyBuilder| envoy.log_level("wasm:info");
    let stack = Stack::builder().target(cold).envoy(envoy).start().await;
    let path = rate.map_or("/echo".to_owned(), |rate| format!("/echo?rate={rate}"));
    let clients = way.clients(&stack).await;

    let before = Memory::of(&stack.envoy).await;
    let send = |(seed, client): (u8, Client)| {
        let upload = Upload::new(length, seed);
        (upload.progress(), client.post(&path, "").body(upload).spawn())
    };
    let (progress, calls): (Vec<Progress>, Vec<Pending>) = (0..UPLOADS).zip(clients).map(send).unzip();
    let all_held = || async { stack.envoy_holds().await == u64::from(UPLOADS) };
    let hold = async {
        eventually("all are held", PATIENCE, all_held).await;
        blocked(&progress, length).await;
    };
    let ((), held) = before.most(&stack.envoy, hold).await;
    assert!(all_held().await, "all must still be held");

    let let_go = async {
        let _open = door.open().await;
        let replies = try_join_all(calls.into_iter().map(Pending::try_reply));
        tokio::time::timeout(PATIENCE, replies).await
    };
    let (replies, released) = before.most(&stack.envoy, let_go).await;
    for (reply, sum) in replies??.iter().zip(sums) {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.held().is_some(), "must have been held: {reply:?}");
        let seen = reply.json();
        assert_eq!(
            (&seen["length"], &seen["sha256"]),
            (&length.into(), &sum.as_str().into()),
            "must arrive whole"
        );
    }
    Ok(Peaks { held, released })
}

/// What Envoy took before.
struct Memory {
    resident: u64,
    allocated: u64,
}

impl Memory {
    async fn of(envoy: &Envoy) -> Self {
        Self {
            resident: proc::resident(envoy.process().pid()),
            allocated: envoy.allocated().await,
        }
    }

    /// By how much Envoy takes more at the most, while this goes on, in MB for each upload. An allocator that has kept
    /// what it needed at the start hides in the one what shows in the other.
    async fn most<T>(&self, envoy: &Envoy, work: impl Future<Output = T>) -> (T, f64) {
        let pid = envoy.process().pid();
        proc::reset_peak(pid);
        let mut work = std::pin::pin!(work);
        let mut allocated = 0;
        let out = loop {
            let look = async {
                tokio::time::sleep(LOOK).await;
                envoy.allocated().await
            };
            tokio::select! {
                out = &mut work => break out,
                now = look => allocated = allocated.max(now),
            }
        };
        let resident = proc::resident_peak(pid).saturating_sub(self.resident);
        let grown = resident.max(allocated.saturating_sub(self.allocated));
        (out, grown as f64 / 1e6 / f64::from(UPLOADS))
    }
}

impl Way {
    fn shown(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Apart => "HTTP/2, ten connections",
            Self::Together => "HTTP/2, one connection",
        }
    }

    async fn clients(self, stack: &Stack) -> Vec<Client> {
        let client = stack.client("cold");
        match self {
            Self::Http1 => vec![client; UPLOADS.into()],
            Self::Apart => join_all((0..UPLOADS).map(|_| client.http2())).await,
            Self::Together => vec![client.http2().await; UPLOADS.into()],
        }
    }
}

/// Waits until no upload moves; each must then be in the middle of its body.
async fn blocked(progress: &[Progress], length: u64) {
    let sent = || progress.iter().map(Progress::sent).collect::<Vec<_>>();
    let (mut last, mut since) = (sent(), tokio::time::Instant::now());
    eventually("the clients are blocked", PATIENCE, || {
        let now = sent();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
        let still = since.elapsed() >= STILL;
        async move { still }
    })
    .await;
    assert!(
        last.iter().all(|sent| (1..length).contains(sent)),
        "each must be blocked in the middle of its body: {last:?}"
    );
}

fn add(report: &mut Report, way: Way, rate: Option<u32>, peaks: &[Peaks]) {
    let upstream = if rate.is_some() { "slow" } else { "fast" };
    let mut phase = |name: &str, megabytes: Vec<f64>| {
        let what = format!("{}, {upstream} workload: memory of each {name}", way.shown());
        let spread = report.figure(&what, "MB", &megabytes);
        report.at_most(what, EACH, "MB", spread.max);
    };
    phase("while held", peaks.iter().map(|peaks| peaks.held).collect());
    phase("while let go", peaks.iter().map(|peaks| peaks.released).collect());
}
