//! One way for requests to a workload that is up: an Envoy with one worker, and what stands behind it. All lanes lead to
//! the same workload and differ in their filter only.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use harness::{Control, Envoy, EnvoyBuilder, Target, eventually};
use serde_json::json;

use crate::cores::Cores;
use crate::load::{H2load, Protocol};
use crate::manual;
use crate::proc;

const HCM: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
/// From a start to all targets known.
const SYNCS_WITHIN: Duration = Duration::from_secs(20);

/// The workload: an Envoy that answers by itself. The `upstream` of the tests takes as much CPU for a request as a proxy
/// does, so that on two cores it would be what limits the throughput.
pub(crate) async fn workload(dir: &Path, cores: &Cores) -> Envoy {
    let routes = json!([{
        "name": "workload",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello\n"}}}],
    }]);
    let builder = without_filter(EnvoyBuilder::new(1, &[]).node("workload").workers(1));
    let envoy = builder
        .patch(&format!("{HCM}/route_config/virtual_hosts"), routes)
        .start(dir)
        .await;
    cores.put_aside(&[envoy.process().pid()]);
    envoy
}

/// A control plane with so many targets; `web` is ready, the others sleep.
pub(crate) async fn control(dir: &Path, cores: &Cores, targets: usize) -> anyhow::Result<Control> {
    let control = manual::start(dir, targets).await;
    cores.put_aside(&[control.process().pid()]);
    let reply = control.wake("web").await;
    ensure!(reply.status == 202, "web cannot be woken: {reply:?}");
    control.wait_for("web", "ready").await;
    Ok(control)
}

/// An Envoy whose route leads to `port` by way of the cluster `web`. Its filter is Holdfast's.
pub(crate) fn builder(node: &str, control_port: u16, port: u16) -> EnvoyBuilder {
    of_target(node, control_port, port, Target::http("web"))
}

/// The same by way of a cluster that is no target's, so that the filter has to look at the host.
pub(crate) fn builder_by_host(node: &str, control_port: u16, port: u16) -> EnvoyBuilder {
    of_target(
        node,
        control_port,
        port,
        Target::http("web").cluster_name("other"),
    )
}

fn of_target(node: &str, control_port: u16, port: u16, mut target: Target) -> EnvoyBuilder {
    target.port = port;
    EnvoyBuilder::new(control_port, &[target])
        .node(node)
        .workers(1)
        .log_level("wasm:warn")
}

/// Takes the filter out.
pub(crate) fn without_filter(builder: EnvoyBuilder) -> EnvoyBuilder {
    let router = json!([{
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }]);
    builder
        .singleton(false)
        .patch(&format!("{HCM}/http_filters"), router)
}

/// Puts another module in place of Holdfast's.
pub(crate) fn with_module(builder: EnvoyBuilder, module: &Path) -> EnvoyBuilder {
    builder.singleton(false).wasm(module)
}

/// Waits until an Envoy with Holdfast knows so many targets, and lets pass.
pub(crate) async fn knows(envoy: &Envoy, targets: usize) -> anyhow::Result<()> {
    eventually("Envoy knows its targets", SYNCS_WITHIN, || async {
        envoy.stat("wasmcustom.holdfast.targets").await == targets as u64
            && envoy.stat("wasmcustom.holdfast.targets_ready").await == 1
    })
    .await;
    let reply = envoy.client("web.example.com").get("/").send().await;
    ensure!(reply.status == 200, "must pass: {reply:?}");
    Ok(())
}

/// Where requests go in, and the processes whose CPU they take.
pub(crate) struct Lane {
    pub(crate) name: String,
    /// Takes the requests.
    pub(crate) front: Envoy,
    /// What each request goes through besides.
    pub(crate) behind: Option<Envoy>,
}

/// What a run of requests took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// CPU of the front's worker for a request, in µs.
    pub(crate) worker: f64,
    /// CPU of all Envoys of the lane for a request, in µs.
    pub(crate) envoys: f64,
    /// Share of the time in which the lane's core was taken by the lane.
    pub(crate) busy: f64,
}

impl Lane {
    pub(crate) fn new(name: impl Into<String>, front: Envoy) -> Self {
        Self {
            name: name.into(),
            front,
            behind: None,
        }
    }

    /// Process ids of its Envoys.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let envoys = [Some(&self.front), self.behind.as_ref()];
        envoys
            .iter()
            .flatten()
            .map(|envoy| envoy.process().pid())
            .collect()
    }

    /// Sends `requests`, with all Envoys of the lane on a core of their own. Fails unless each was answered with 200 and
    /// went out of the front exactly once.
    pub(crate) async fn run(&self, cores: &Cores, protocol: Protocol, requests: u64) -> anyhow::Result<Run> {
        let (connections, streams) = match protocol {
            Protocol::Http1 => (50, 1),
            Protocol::Http2 => (5, 10),
        };
        let load = H2load {
            port: self.front.port(),
            authority: "web.example.com".to_owned(),
            protocol,
            requests,
            connections,
            streams,
            cores: cores.rest(),
        };
        let pids = self.pids();
        let worker = || proc::cpu_of_threads(pids[0], "wrk:worker_0");
        let envoys = || pids.iter().map(|pid| proc::cpu(*pid)).sum::<Duration>();

        cores.test(&pids);
        let sent = self.sent().await;
        let (start, worker_before, envoys_before) = (Instant::now(), worker(), envoys());
        let answered = load.run().await?;
        let (took, worker, envoys) = (
            start.elapsed(),
            worker() - worker_before,
            envoys() - envoys_before,
        );
        let sent = self.sent().await - sent;
        cores.put_aside(&pids);

        ensure!(
            sent == requests,
            "{}: {sent} of {requests} requests went to the workload",
            self.name
        );
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests as f64;
        Ok(Run {
            per_second: answered.per_second,
            worker: each(worker),
            envoys: each(envoys),
            busy: envoys.as_secs_f64() / took.as_secs_f64(),
        })
    }

    /// Requests that the front has sent on, to the workload or to the next proxy, and that were answered with 200.
    async fn sent(&self) -> u64 {
        let stats = self.front.stats("upstream_rq_200").await;
        let of_workload =
            |name: &str| name == "cluster.web.upstream_rq_200" || name == "cluster.other.upstream_rq_200";
        stats
            .iter()
            .filter(|(name, _)| of_workload(name))
            .map(|(_, value)| value)
            .sum()
    }
}
