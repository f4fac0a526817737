//! A Kubernetes control plane under test: the real etcd, kube-apiserver and kube-controller-manager on 127.0.0.1, with
//! RBAC, TLS and an audit log. It has no scheduler and no kubelet; see [`super::Kubelet`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::audit::{Audit, POLICY};
use super::certificates::Certificates;
use super::tokens::{Server, Tokens};
use super::{apply, assets, kustomization};
use harness::{Process, eventually, free_port};

/// About 5 s on an idle machine; two tests may be starting one each on one core.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// Members of this group may do everything.
const MASTERS: Option<&str> = Some("system:masters");
/// All but those that want nodes, clouds or volumes.
const CONTROLLERS: &str = "*,-nodelifecycle,-nodeipam,-route,-service,-attachdetach,-persistentvolume-binder,\
    -persistentvolume-expander,-horizontalpodautoscaling,-bootstrapsigner,-tokencleaner";
/// As newer servers do by default; the tests' server is 1.20.
const GATES: &str = "--feature-gates=EndpointSliceTerminatingCondition=true,EndpointSliceNodeName=true";

/// A running API server with its controllers. Dropping it stops everything and removes its files.
pub struct Cluster {
    api_server: Mutex<Process>,
    controllers: Process,
    etcd: Process,
    ports: Ports,
    certificates: Certificates,
    binaries: &'static Path,
    admin: Client,
    dir: TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controllers: u16,
}

impl Ports {
    fn server(self, certificates: &Certificates) -> Server {
        Server {
            url: format!("https://127.0.0.1:{}", self.api_server),
            authority: certificates.path("ca.crt"),
        }
    }
}

impl Cluster {
    /// Starts one. `None`: this machine lacks the programs, a line said so, and the test is to return.
    ///
    /// ```ignore
    /// let Some(cluster) = Cluster::start().await else { return };
    /// ```
    pub async fn start() -> Option<Self> {
        let binaries = assets::find_or_skip()?;
        let dir = tempfile::Builder::new()
            .prefix("holdfast-kube-")
            .tempdir()
            .unwrap();
        let ports = Ports {
            etcd: free_port(),
            etcd_peer: free_port(),
            api_server: free_port(),
            controllers: free_port(),
        };
        let certificates = Certificates::create(&dir.path().join("pki"));
        let server = ports.server(&certificates);
        std::fs::write(dir.path().join("audit-policy.yaml"), POLICY).unwrap();
        std::fs::create_dir(dir.path().join("audit")).unwrap();
        let start = |name: &str, args: &[String]| {
            let log = dir.path().join(format!("{name}.log"));
            Process::start(name, &binaries.join(name), args, &[], &log)
        };
        let etcd = start("etcd", &etcd_args(dir.path(), ports));
        let api_server = start(
            "kube-apiserver",
            &api_server_args(dir.path(), &certificates, ports),
        );
        let kubeconfig = write_kubeconfig(dir.path(), &certificates, &server, "admin", MASTERS);
        let admin = client(&kubeconfig, "admin").await;
        ready(&admin, || panic_if_ended(&[&etcd, &api_server])).await;
        // Before the API server is ready they would be refused, and give up.
        let user = "system:kube-controller-manager";
        let kubeconfig = write_kubeconfig(dir.path(), &certificates, &server, user, None);
        let controllers = start(
            "kube-controller-manager",
            &controllers_args(&certificates, ports, &kubeconfig),
        );
        let cluster = Self {
            api_server: Mutex::new(api_server),
            controllers,
            etcd,
            ports,
            binaries,
            admin,
            certificates,
            dir,
        };
        // Pods can be made only once the namespace's default service account is there.
        let accounts = Api::<ServiceAccount>::namespaced(cluster.admin(), "default");
        eventually("the controllers are at work", STARTS_WITHIN, || async {
            cluster.panic_if_ended();
            matches!(accounts.get_opt("default").await, Ok(Some(_)))
        })
        .await;
        Some(cluster)
    }

    /// A client that may do everything, as user `admin`.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A client that may do everything, under a user name of its own, which the audit log then shows.
    pub async fn client_as(&self, user: &str) -> Client {
        let path = write_kubeconfig(self.dir(), &self.certificates, &self.server(), user, MASTERS);
        client(&path, user).await
    }

    /// Path of a kubeconfig of user `admin`, for `kubectl`.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.kubeconfig")
    }

    /// Path of a kubeconfig with a fresh token of a service account. It may do what RBAC allows the account.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> PathBuf {
        self.tokens().kubeconfig(namespace, name).await
    }

    pub(super) fn tokens(&self) -> Tokens {
        Tokens {
            admin: self.admin(),
            server: self.server(),
            dir: self.dir().to_owned(),
        }
    }

    /// Makes a namespace and waits until pods can be made in it.
    pub async fn create_namespace(&self, name: &str) {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(self.admin())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(self.admin(), name);
        eventually(
            &format!("namespace {name} has its service account"),
            Duration::from_secs(30),
            || async { matches!(accounts.get_opt("default").await, Ok(Some(_))) },
        )
        .await;
    }

    /// Applies all documents of a YAML text, in order, by server-side apply. Panics with the server's words if one is
    /// refused; [`Cluster::try_apply`] returns them.
    pub async fn apply(&self, yaml: &str) {
        self.try_apply(yaml).await.unwrap();
    }

    /// Applies all documents of a YAML text up to the first that is refused.
    pub async fn try_apply(&self, yaml: &str) -> anyhow::Result<()> {
        apply::apply(&self.admin(), apply::documents(yaml)?).await
    }

    /// Applies documents up to the first that is refused.
    pub async fn apply_documents(&self, documents: Vec<Value>) -> anyhow::Result<()> {
        apply::apply(&self.admin(), documents).await
    }

    /// Applies the resources of a `kustomization.yaml` without patches, those that `take` wants.
    pub async fn apply_folder(&self, dir: &Path, take: impl Fn(&Value) -> bool) {
        let mut documents = kustomization::documents(dir);
        documents.retain(take);
        self.apply_documents(documents).await.unwrap();
    }

    /// Installs every CustomResourceDefinition in a folder's YAML files and waits until they are served.
    pub async fn install_crds(&self, dir: &Path) {
        apply::install_crds(&self.admin(), dir).await;
    }

    /// What the API server wrote down of the requests so far.
    pub fn audit(&self) -> Audit {
        Audit::read_all(&self.dir().join("audit"))
    }

    /// SIGKILL to the API server. Its data stays, in etcd. Requests under way may lack from the audit log.
    pub fn stop_api_server(&self) {
        self.api_server().kill();
    }

    /// Starts it again on the same port with the same data. Waits until it is ready.
    pub async fn start_api_server(&self) {
        let args = api_server_args(self.dir(), &self.certificates, self.ports);
        let log = self.dir().join("kube-apiserver.log");
        let program = self.binaries.join("kube-apiserver");
        *self.api_server() = Process::start("kube-apiserver", &program, &args, &[], &log);
        ready(&self.admin, || self.panic_if_ended()).await;
    }

    /// SIGSTOP to the API server: it goes silent, its connections stay.
    pub fn freeze_api_server(&self) {
        self.api_server().signal(Signal::SIGSTOP);
    }

    /// SIGCONT to the API server.
    pub fn thaw_api_server(&self) {
        self.api_server().signal(Signal::SIGCONT);
    }

    /// Port of the API server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.api_server
    }

    /// Where its files are. Removed at the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self) -> Server {
        self.ports.server(&self.certificates)
    }

    fn panic_if_ended(&self) {
        panic_if_ended(&[&self.etcd, &self.api_server(), &self.controllers]);
    }

    fn api_server(&self) -> MutexGuard<'_, Process> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // They would take seconds to end well, and their data is not needed.
        self.controllers.kill();
        self.api_server().kill();
        self.etcd.kill();
    }
}

async fn ready(client: &Client, panic_if_ended: impl Fn()) {
    eventually("the API server is ready", STARTS_WITHIN, || async {
        panic_if_ended();
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        client.request_text(request).await.is_ok()
    })
    .await;
}

fn panic_if_ended(processes: &[&Process]) {
    for process in processes {
        if let Some(status) = process.exited() {
            panic!("a server ended with {status}:\n{}", process.log_tail());
        }
    }
}

async fn client(kubeconfig: &Path, user: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let agent = http::HeaderValue::from_str(&format!("e2e/{user}")).unwrap();
    config.headers.push((http::header::USER_AGENT, agent));
    Client::try_from(config).unwrap()
}

fn write_kubeconfig(
    dir: &Path,
    certificates: &Certificates,
    server: &Server,
    user: &str,
    group: Option<&str>,
) -> PathBuf {
    let (certificate, key) = certificates.client(user, group);
    let file = user.replace(':', "-");
    let (certificate_path, key_path) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    std::fs::write(&certificate_path, certificate).unwrap();
    std::fs::write(&key_path, key).unwrap();
    let user = json!({"client-certificate": certificate_path, "client-key": key_path});
    server.write_kubeconfig(dir, &file, &user)
}

fn etcd_args(dir: &Path, ports: Ports) -> Vec<String> {
    let (client, peer) = (http(ports.etcd), http(ports.etcd_peer));
    vec![
        "--name=e2e".to_owned(),
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=e2e={peer}"),
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn api_server_args(dir: &Path, certificates: &Certificates, ports: Ports) -> Vec<String> {
    // A file for each life: a life that was killed leaves half a line at its end.
    let lives = std::fs::read_dir(dir.join("audit")).map_or(0, Iterator::count);
    let audit = dir.join(format!("audit/{lives:04}.log"));
    let policy = dir.join("audit-policy.yaml");
    let mut args = fixed(&[
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--insecure-port=0",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--allow-privileged=true",
        "--profiling=false",
        // It must not be rotated while a test reads it.
        "--audit-log-maxsize=2000",
        GATES,
    ]);
    args.extend([
        format!("--etcd-servers={}", http(ports.etcd)),
        format!("--secure-port={}", ports.api_server),
        format!("--client-ca-file={}", certificates.path("ca.crt")),
        format!("--tls-cert-file={}", certificates.path("apiserver.crt")),
        format!("--tls-private-key-file={}", certificates.path("apiserver.key")),
        format!("--service-account-key-file={}", certificates.path("sa.pub")),
        format!(
            "--service-account-signing-key-file={}",
            certificates.path("sa.key")
        ),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", audit.display()),
    ]);
    args
}

fn controllers_args(certificates: &Certificates, ports: Ports, kubeconfig: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    let mut args = fixed(&[
        "--bind-address=127.0.0.1",
        "--port=0",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
        GATES,
    ]);
    args.extend([
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--secure-port={}", ports.controllers),
        format!(
            "--service-account-private-key-file={}",
            certificates.path("sa.key")
        ),
        format!("--root-ca-file={}", certificates.path("ca.crt")),
        format!("--controllers={CONTROLLERS}"),
    ]);
    args
}

fn http(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn fixed(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}
