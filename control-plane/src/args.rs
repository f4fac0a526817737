//! The command line. Every option is also an environment variable, `HOLDFAST_..`.

mod server;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

pub use crate::logs::LogFormat;
use fleet::config::{HumanDuration, Needs};
pub use server::ServerArgs;

/// Holdfast's control plane.
#[derive(Debug, Parser)]
#[command(name = "control-plane", version, about, long_about = None)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Scale targets and answer the proxies.
    Serve(Box<ServeArgs>),
    /// Say whether a targets file can be used; exit with 1 if not.
    Validate(ValidateArgs),
    /// Run one workload and leave nothing of it behind. Used by `serve`.
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

/// What runs the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    /// Processes on this machine.
    Local,
    /// A person says what sleeps.
    Manual,
    /// What has a scale subresource in a cluster; targets are custom resources there.
    Kubernetes,
}

impl BackendKind {
    /// What it needs of each document of a targets file. `None`: it takes no such file.
    pub fn needs(self) -> Option<Needs> {
        match self {
            Self::Local => Some(Needs::Process),
            Self::Manual => Some(Needs::Nothing),
            Self::Kubernetes => None,
        }
    }
}

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// What runs the workloads.
    #[arg(long, env = "HOLDFAST_BACKEND", value_enum, default_value = "local")]
    pub backend: BackendKind,
    /// File with ScaleTarget documents; it is watched. Required by local and manual, and by them only.
    #[arg(long, env = "HOLDFAST_TARGETS", value_name = "FILE")]
    pub targets: Option<PathBuf>,
    /// Which callers it answers, and where.
    #[command(flatten)]
    pub server: ServerArgs,
    /// A proxy reports at least this often; after three without a word it counts as silent.
    #[arg(
        long,
        env = "HOLDFAST_HEARTBEAT", value_parser = interval,
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub heartbeat: HumanDuration,
    /// A proxy that went silent without signing off blocks sleeps for this long.
    #[arg(
        long,
        env = "HOLDFAST_PROXY_FORGET_AFTER",
        value_name = "DURATION",
        default_value = "10m"
    )]
    pub proxy_forget_after: HumanDuration,
    /// File in which it is kept which proxies are known, so that after a restart nothing is put to sleep under one that has not
    /// come back. With local and manual; in a cluster it is kept beside the Lease. Default: it is not kept.
    #[arg(long, env = "HOLDFAST_STATE_FILE", value_name = "FILE")]
    pub state_file: Option<PathBuf>,
    /// No target is put to sleep in the first two leases after a start. With kubernetes also how long a leader may go
    /// without renewing its lease, so the longest until another takes over.
    #[arg(
        long,
        env = "HOLDFAST_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "15s"
    )]
    pub lease_duration: HumanDuration,
    /// Wait before the first retry of a workload that cannot start; doubled after each failure.
    #[arg(
        long,
        env = "HOLDFAST_RETRY_INITIAL", value_parser = interval,
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub retry_initial: HumanDuration,
    /// Longest wait before a retry.
    #[arg(
        long,
        env = "HOLDFAST_RETRY_MAX", value_parser = interval,
        value_name = "DURATION",
        default_value = "1m"
    )]
    pub retry_max: HumanDuration,
    /// Most proxies at once.
    #[arg(long, env = "HOLDFAST_MAX_PROXIES", value_name = "N", default_value = "1024",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_proxies: u32,
    /// With kubernetes.
    #[command(flatten, next_help_heading = "Kubernetes")]
    pub cluster: ClusterArgs,
    /// Form of the log on stderr.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter of tracing.
    #[arg(long, env = "HOLDFAST_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Test only: `draining=200ms,stopping=300ms,asleep=100ms,ready=100ms` makes each step take that much longer, so
    /// that requests land in it. draining: confirms are not taken sooner after the drain is published; stopping: from
    /// the end of the drain to SIGTERM; asleep: from the reaping to asleep; ready: from the probe's yes to ready.
    #[arg(long, env = "HOLDFAST_TEST_DELAY", hide = true, default_value = "")]
    pub test_delay: TestDelay,
}

/// Options of `serve` that only the Kubernetes backend reads. The cluster is that of `KUBECONFIG`, or the one it runs in.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Namespace of the Lease that says which replica leads. Default: the pod's own, else holdfast-system.
    #[arg(long, env = "HOLDFAST_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of that Lease.
    #[arg(
        long,
        env = "HOLDFAST_LEASE_NAME",
        value_name = "NAME",
        default_value = "holdfast-control-plane"
    )]
    pub lease_name: String,
    /// Name of this replica in the Lease; no two may have the same. Default: the host's name and a random suffix.
    #[arg(long, env = "HOLDFAST_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// The cluster's domain, in which Services have their names.
    #[arg(
        long,
        env = "HOLDFAST_CLUSTER_DOMAIN",
        value_name = "DOMAIN",
        default_value = "cluster.local"
    )]
    pub cluster_domain: String,
    /// A Pod that is unschedulable for longer fails its target: until then an autoscaler may be adding a node.
    #[arg(
        long,
        env = "HOLDFAST_UNSCHEDULABLE_GRACE",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub unschedulable_grace: HumanDuration,
}

/// Options of `validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// File with ScaleTarget documents.
    pub(crate) file: PathBuf,
    /// The backend it is meant for.
    #[arg(long, env = "HOLDFAST_BACKEND", value_enum, default_value = "local")]
    pub(crate) backend: BackendKind,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SuperviseArgs {
    /// How many files the workload may have open.
    #[arg(long, value_name = "N")]
    pub(crate) open_files: Option<u64>,
    /// Pass on what it prints.
    #[arg(long)]
    pub(crate) output: bool,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// A span that something is repeated in: never so short that it would spin.
fn interval(text: &str) -> Result<HumanDuration, String> {
    let span: HumanDuration = text.parse()?;
    if span.get() < Duration::from_millis(10) {
        return Err(format!("{text:?} is too short: write 10ms or more"));
    }
    Ok(span)
}

/// Value of `--test-delay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestDelay {
    /// See [`fleet::lifecycle::Policy::drain_pause`].
    pub draining: Duration,
    /// See [`crate::backend::local::Delays`].
    pub local: crate::backend::local::Delays,
}

impl FromStr for TestDelay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut delay = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, span) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no name=duration"))?;
            let span = span.parse::<HumanDuration>()?.get();
            match name {
                "draining" => delay.draining = span,
                "stopping" => delay.local.stopping = span,
                "asleep" => delay.local.asleep = span,
                "ready" => delay.local.ready = span,
                _ => return Err(format!("{name:?} is none of draining, stopping, asleep, ready")),
            }
        }
        Ok(delay)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_option_of_serve_is_a_variable() {
        let command = Args::command();
        let serve = command.find_subcommand("serve").unwrap();
        for option in serve.get_arguments().filter(|option| option.get_id() != "help") {
            let name = option.get_long().unwrap().replace('-', "_").to_uppercase();
            let variable = option.get_env().and_then(|env| env.to_str());
            assert_eq!(
                variable,
                Some(format!("HOLDFAST_{name}").as_str()),
                "must have its variable"
            );
        }
    }

    #[test]
    fn reads_test_delays() {
        let delay: TestDelay = "draining=200ms,stopping=300ms".parse().unwrap();
        assert_eq!(delay.draining.as_millis(), 200, "must read draining");
        assert_eq!(delay.local.stopping.as_millis(), 300, "must read stopping");
        assert!(
            "walking=1s".parse::<TestDelay>().is_err(),
            "must refuse unknown steps"
        );
    }
}
