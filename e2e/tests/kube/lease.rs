//! Replicas of the control plane and a real Lease: one leads, and another takes over when it ends, dies, stops or cannot
//! reach the API server. Never two at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::kube::{ACCOUNT, Audit, Cluster, NAMESPACE};
use harness::{Control, ControlBuilder, binaries, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(30);
/// What machine and harness add to a time that a test measures.
const SLACK: Duration = Duration::from_secs(2);
/// The Lease's name and the account's are one.
const LEASE: &str = ACCOUNT;

/// A cluster and replicas that share one Lease.
struct Replicas {
    cluster: Cluster,
    controls: Vec<Control>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_well_hands_over_at_once() {
    let Some(replicas) = Replicas::start(2, "15s").await else {
        return;
    };
    let leader = replicas.leader().await;
    let ended = Instant::now();
    replicas.controls[leader].process().signal(Signal::SIGTERM);
    let next = replicas.leader_after(leader).await;
    let took = ended.elapsed();
    println!("handed over in {took:?}, by a lease of 15 s");
    assert!(took < SLACK, "must not wait for the lease to run out: {took:?}");
    assert_ne!(next, leader);
    replicas.check_one_after_the_other();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_replaced_within_a_lease_and_a_renewal() {
    let Some(replicas) = Replicas::start(3, "3s").await else {
        return;
    };
    let leader = replicas.leader().await;
    let killed = Instant::now();
    replicas.controls[leader].kill();
    replicas.leader_after(leader).await;
    let took = killed.elapsed();
    println!("replaced in {took:?}, by a lease of 3 s");
    assert!(
        took < Duration::from_secs(4) + SLACK,
        "must be replaced in time: {took:?}"
    );
    replicas.check_one_after_the_other();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_tells_proxies_nothing_any_more() {
    let Some(replicas) = Replicas::start(2, "1s").await else {
        return;
    };
    let leader = replicas.leader().await;
    let old = &replicas.controls[leader];
    let mut kept = TcpStream::connect(("127.0.0.1", old.port())).unwrap();
    kept.set_read_timeout(Some(WITHIN)).unwrap();
    assert!(
        ask(&mut kept).starts_with("HTTP/1.1 200 "),
        "must answer while it leads"
    );

    old.freeze();
    replicas.leader_after(leader).await;
    // Asked while it stands still, so it is the first thing that it finds when it goes on.
    send(&mut kept);
    old.thaw();

    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("connection: close"),
        "must be turned away, and the connection must end: {answer}"
    );
    eventually("it says that it has lost the lease", WITHIN, || async {
        let mut events = old.events();
        events.read();
        events.count("lease_lost") == 1
    })
    .await;
    assert!(!old.is_ready().await, "must stand by");
    replicas.check_one_after_the_other();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_no_replica_leads_and_with_it_one_does_again() {
    let Some(replicas) = Replicas::start(2, "2s").await else {
        return;
    };
    let leader = replicas.leader().await;
    replicas.cluster.freeze_api_server();
    let frozen = Instant::now();
    eventually("the leader gives up", WITHIN, || async {
        !replicas.controls[leader].is_ready().await
    })
    .await;
    assert!(
        frozen.elapsed() < Duration::from_secs(2) + SLACK,
        "must give up before its lease ends"
    );
    let failures = "holdfast_lease_renew_failures_total";
    assert!(
        replicas.controls[leader].metric(failures, &[]).await >= 1.0,
        "must count what failed"
    );
    replicas.cluster.thaw_api_server();
    replicas.leader().await;
    replicas.check_one_after_the_other();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_deleted_is_stored_again_by_its_holder() {
    let Some(replicas) = Replicas::start(2, "15s").await else {
        return;
    };
    let leader = replicas.leader().await;
    let leases = Api::<Lease>::namespaced(replicas.cluster.admin(), NAMESPACE);
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    let lease = eventually("the lease is there again", WITHIN, || async {
        leases.get(LEASE).await.ok()
    })
    .await;
    let holder = lease.spec.unwrap().holder_identity;
    assert_eq!(holder, Some(format!("replica-{leader}")), "must be its holder's");
    assert_eq!(replicas.leader().await, leader, "must lead on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_replica_from_the_lease_is_said_once() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.create_namespace("elsewhere").await;
    let kubeconfig = cluster
        .kubeconfig_for_service_account("elsewhere", "default")
        .await;
    let start = |kubeconfig, namespace| {
        let args = [
            "--log-format",
            "json",
            "--lease-duration",
            "1s",
            "--lease-namespace",
            namespace,
        ];
        ControlBuilder::new().kubernetes(kubeconfig).args(args)
    };
    let forbidden = start(&kubeconfig, "elsewhere").start_replica(cluster.dir()).await;
    let admin = cluster.admin_kubeconfig();
    let nowhere = start(&admin, "nowhere").start_replica(cluster.dir()).await;
    for (control, reason) in [
        (
            &forbidden,
            "it takes get, create, update and watch on leases in \\\"elsewhere\\\"",
        ),
        (
            &nowhere,
            "there is no namespace \\\"nowhere\\\" (--lease-namespace)",
        ),
    ] {
        let said = || control.log().lines().filter(|line| line.contains(reason)).count();
        eventually("it says why", WITHIN, || async { said() > 0 }).await;
        let before = tries(&cluster, "leases");
        eventually("it tries again", WITHIN, || async {
            tries(&cluster, "leases") > before + 6
        })
        .await;
        assert_eq!(said(), 1, "must be said once: {}", control.log());
        assert!(!control.is_ready().await, "must not lead");
    }
}

impl Replicas {
    async fn start(count: usize, lease: &str) -> Option<Self> {
        let cluster = Cluster::start().await?;
        cluster
            .apply_folder(&binaries::root().join("kubernetes/base"), |document| {
                document["kind"] != "Deployment"
            })
            .await;
        let kubeconfig = cluster.kubeconfig_for_service_account(NAMESPACE, ACCOUNT).await;
        let mut controls = Vec::new();
        for n in 0..count {
            let identity = format!("replica-{n}");
            let options = [
                ["--log-format", "json"],
                ["--lease-duration", lease],
                ["--lease-namespace", NAMESPACE],
                ["--identity", &identity],
            ];
            let control = ControlBuilder::new()
                .kubernetes(&kubeconfig)
                .args(options.concat());
            controls.push(control.start_replica(cluster.dir()).await);
        }
        Some(Self { cluster, controls })
    }

    async fn leader(&self) -> usize {
        eventually("a replica leads", WITHIN, || self.ready_one(None)).await
    }

    async fn leader_after(&self, old: usize) -> usize {
        eventually("another replica leads", WITHIN, || self.ready_one(Some(old))).await
    }

    async fn ready_one(&self, but: Option<usize>) -> Option<usize> {
        for (n, control) in self.controls.iter().enumerate() {
            if Some(n) != but && control.process().exited().is_none() && control.is_ready().await {
                return Some(n);
            }
        }
        None
    }

    /// A replica that has lost the lease does not write it again before another has had it or it was free.
    fn check_one_after_the_other(&self) {
        let audit = self.cluster.audit();
        let terms = terms(&audit);
        for pair in terms.windows(2) {
            let [(holder, transitions), (next, later)] = pair else {
                unreachable!()
            };
            assert!(
                holder == next && transitions == later || later > transitions || next.is_none(),
                "each holder must be counted, and none may come back unseen: {terms:?}"
            );
        }
    }
}

/// Holder and transitions of each write of the Lease that the API server took.
fn terms(audit: &Audit) -> Vec<(Option<String>, i64)> {
    let writes = audit.requests.iter().filter(|request| {
        request.resource == "leases" && request.is_write() && (200..300).contains(&request.code)
    });
    let spec = |body: &Value| {
        let holder = body["spec"]["holderIdentity"].as_str().map(ToOwned::to_owned);
        (holder, body["spec"]["leaseTransitions"].as_i64().unwrap_or(0))
    };
    writes
        .filter_map(|request| request.body.as_ref().map(spec))
        .collect()
}

fn tries(cluster: &Cluster, resource: &str) -> usize {
    let audit = cluster.audit();
    audit
        .requests
        .iter()
        .filter(|request| request.resource == resource)
        .count()
}

fn send(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /v1/targets HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
}

fn ask(stream: &mut TcpStream) -> String {
    send(stream);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "must not end yet");
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen);
        if text.contains("\r\n\r\n") && text.trim_end().ends_with('}') {
            return text.into_owned();
        }
    }
}
