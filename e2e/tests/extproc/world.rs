//! One Envoy with external processors between a client and an [`Origin`], and what its own counters say in the end.

mod act;
mod config;
mod content;
mod ends;
mod origin;
mod served;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Client, Process, binaries, eventually, free_port};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use act::{Act, Worker};
pub(crate) use config::{Filter, Front, origin_window};
pub(crate) use content::{Content, frames, sha256};
pub(crate) use ends::Ends;
pub(crate) use origin::Origin;
pub(crate) use served::{Endpoint, Served, serve, serve_unix};

/// What ends well within this, ends.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Counters of `ext_proc` that have to be 0, unless a test says what they are.
const CLEAN: [&str; 7] = [
    "spurious_msgs_received",
    "streams_failed",
    "message_timeouts",
    "failure_mode_allowed",
    "rejected_header_mutations",
    "override_message_timeout_ignored",
    "http_not_ok_resp_received",
];

/// A running Envoy, and the origin behind it.
pub(crate) struct World {
    envoy: Process,
    admin: Client,
    fronts: Vec<Front>,
    pub(crate) origin: Origin,
    _dir: TempDir,
}

impl World {
    /// Starts an origin, and an Envoy with these listeners in front of it.
    pub(crate) async fn start(fronts: impl IntoIterator<Item = Front>) -> Self {
        Self::start_with(fronts, |_| {}).await
    }

    /// The same with a change of the whole bootstrap.
    pub(crate) async fn start_with(
        fronts: impl IntoIterator<Item = Front>,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        // Shown where a test fails.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("warn")
            .with_test_writer()
            .try_init();
        let origin = Origin::start().await;
        let fronts: Vec<Front> = fronts.into_iter().collect();
        let dir = tempfile::Builder::new().prefix("extproc-e2e-").tempdir().unwrap();
        let admin = free_port();
        let mut bootstrap = config::bootstrap(admin, &fronts, origin.port());
        change(&mut bootstrap);
        let file = dir.path().join("envoy.json");
        std::fs::write(&file, format!("{bootstrap:#}")).unwrap();
        let mut args = vec!["--config-path".to_owned(), file.display().to_string()];
        args.extend(
            [
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ]
            .map(str::to_owned),
        );
        if let Ok(levels) = std::env::var("EXTPROC_ENVOY_LOG") {
            args.extend(["--component-log-level".to_owned(), levels]);
        }
        let envoy = Process::start(
            "envoy",
            &binaries::envoy(),
            &args,
            &[],
            &dir.path().join("envoy.log"),
        );
        let world = Self {
            envoy,
            admin: Client::new(admin, "admin"),
            fronts,
            origin,
            _dir: dir,
        };
        eventually("Envoy is ready", Duration::from_secs(30), || async {
            if let Some(status) = world.envoy.exited() {
                panic!("Envoy ended with {status}:\n{}", world.envoy.log_tail());
            }
            let ready = world.admin.get("/ready").try_send().await;
            ready.is_ok_and(|reply| reply.status == 200)
        })
        .await;
        world
    }

    /// A client of a listener over HTTP/1.
    pub(crate) fn client(&self, front: usize) -> Client {
        Client::new(self.fronts[front].port(), "test.example.com")
    }

    /// Port of a listener.
    pub(crate) fn port(&self, front: usize) -> u16 {
        self.fronts[front].port()
    }

    /// The value of a counter or gauge of Envoy; 0 if it does not know it.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        self.stats().await.get(name).copied().unwrap_or(0)
    }

    /// One of the counters that `ext_proc` keeps for a listener.
    pub(crate) async fn counter(&self, front: usize, name: &str) -> u64 {
        self.stat(&format!("http.front{front}.ext_proc.{name}")).await
    }

    async fn stats(&self) -> BTreeMap<String, u64> {
        let reply = self.admin.get("/stats").send().await;
        let pairs = reply.text().lines().filter_map(|line| line.split_once(": "));
        pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Bytes that Envoy has allocated.
    pub(crate) async fn allocated(&self) -> u64 {
        let reply = self.admin.get("/memory").send().await.json();
        reply["allocated"].as_str().unwrap().parse().unwrap()
    }

    /// Ends the test: Envoy saw nothing that it should not have.
    pub(crate) async fn clean(self) {
        self.ended::<&str>(&[]).await;
    }

    /// Ends the test: these counters (of listener 0, by the names of `ext_proc`, or `1.streams_failed` of another) have these values,
    /// and the others that have to be 0 are.
    pub(crate) async fn ended<N: AsRef<str>>(self, expected: &[(N, u64)]) {
        let expected: BTreeMap<(usize, &str), u64> = expected
            .iter()
            .map(|(name, value)| match name.as_ref().split_once('.') {
                Some((front, name)) => ((front.parse().unwrap(), name), *value),
                None => ((0, name.as_ref()), *value),
            })
            .collect();
        let mut last = String::new();
        // Envoy notices the end of a call a moment after the client has its answer.
        let matched = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                let stats = self.stats().await;
                last = self.differences(&stats, &expected);
                if last.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let matched = matched.await;
        assert!(
            matched.is_ok(),
            "Envoy's counters: {last}\n{}",
            self.envoy.log_tail()
        );
    }

    fn differences(&self, stats: &BTreeMap<String, u64>, expected: &BTreeMap<(usize, &str), u64>) -> String {
        let mut found = String::new();
        let mut look = |front: usize, name: &str, wanted: u64| {
            let key = format!("http.front{front}.ext_proc.{name}");
            let value = stats.get(&key).copied().unwrap_or(0);
            if value != wanted {
                found += &format!("{key} is {value}, not {wanted}; ");
            }
        };
        for front in 0..self.fronts.len() {
            for name in CLEAN {
                if !expected.contains_key(&(front, name)) {
                    look(front, name, 0);
                }
            }
        }
        for ((front, name), wanted) in expected {
            look(*front, name, *wanted);
        }
        found
    }
}
