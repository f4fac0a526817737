//! What a pod asks for, in the terms of a local process: program, arguments, probe, delays. No I/O.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use harness::binaries;

/// The prefix of annotations that tell the kubelet to do something special.
const ANNOTATION: &str = "e2e.holdfast.dev/";

/// What is special about a pod, from its annotations.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// `probe-period-ms`: in place of the probe's period, which is at least a second.
    pub(super) probe_period: Option<Duration>,
    /// `term-delay-ms`: so long between the deletion and SIGTERM, as a preStop hook takes.
    pub(super) term_delay: Duration,
    /// `never-ready`: `true`.
    pub(super) never_ready: bool,
    /// `unschedulable`: `true`, as if no node had room.
    pub(super) unschedulable: bool,
    /// `waiting`: `Reason: message` that its container waits with in place of a start.
    pub(super) waiting: Option<(String, String)>,
}

impl Wishes {
    pub(super) fn of(pod: &Pod) -> Self {
        let wish = |name: &str| {
            let annotations = pod.metadata.annotations.as_ref()?;
            annotations
                .get(&format!("{ANNOTATION}{name}"))
                .map(String::as_str)
        };
        let millis = |name| wish(name).map(|ms| Duration::from_millis(ms.parse().expect("milliseconds")));
        let waiting = wish("waiting").map(|text| text.split_once(": ").unwrap_or((text, "")));
        Self {
            probe_period: millis("probe-period-ms"),
            term_delay: millis("term-delay-ms").unwrap_or_default(),
            never_ready: wish("never-ready") == Some("true"),
            unschedulable: wish("unschedulable") == Some("true"),
            waiting: waiting.map(|(reason, message)| (reason.to_owned(), message.to_owned())),
        }
    }
}

/// The container that is run: the first.
pub(super) fn first(spec: &PodSpec) -> &Container {
    spec.containers
        .first()
        .expect("the API server requires a container")
}

/// True if the image is one that no registry has: its name is `missing`.
pub(super) fn is_missing(image: &str) -> bool {
    repository(image) == "missing"
}

/// The program and its arguments, with variables put in and the unspecified address made the pod's own, as it is in
/// a network namespace. `None`: neither the container nor its image says what to run.
pub(super) fn command_line(
    container: &Container,
    env: &BTreeMap<String, String>,
    ip: Ipv4Addr,
) -> Option<(PathBuf, Vec<String>)> {
    let mut words = container.command.clone().unwrap_or_default();
    if words.is_empty() {
        let program = match repository(container.image.as_deref().unwrap_or_default()) {
            "upstream" => binaries::upstream(),
            "control-plane" => binaries::control_plane(),
            _ => return None,
        };
        words.push(program.display().to_string());
    }
    words.extend(container.args.clone().unwrap_or_default());
    let mut words = words.into_iter().map(|word| localise(&expand(&word, env), ip));
    Some((PathBuf::from(words.next()?), words.collect()))
}

/// Puts the pod's IP in the place of `0.0.0.0:` and `[::]:` at the beginning or after `=`.
pub(super) fn localise(word: &str, ip: Ipv4Addr) -> String {
    for unspecified in ["0.0.0.0:", "[::]:"] {
        if let Some(port) = word.strip_prefix(unspecified) {
            return format!("{ip}:{port}");
        }
        if let Some((option, port)) = word.split_once(&format!("={unspecified}")) {
            return format!("{option}={ip}:{port}");
        }
    }
    word.to_owned()
}

/// Kubernetes' expansion: `$(NAME)` is the variable's value, or stays if there is none; `$$` is `$`.
pub(super) fn expand(word: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(escaped) = rest.strip_prefix('$') {
            out.push('$');
            rest = escaped;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|open| open.split_once(')'));
        match name.and_then(|(name, after)| Some((env.get(name)?, after))) {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => out.push('$'),
        }
    }
    out + rest
}

/// How a pod's readiness is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadinessProbe {
    pub(super) ask: Ask,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) failures: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A connection to this port.
    Tcp(u16),
    /// A GET of this path on this port.
    Http(u16, String),
}

impl ReadinessProbe {
    /// `None`: the container has no probe, or one of a kind that this kubelet does not know, and is ready when it runs.
    pub(super) fn of(container: &Container, wishes: &Wishes) -> Option<Self> {
        let probe: &Probe = container.readiness_probe.as_ref()?;
        let ask = if let Some(http) = &probe.http_get {
            let path = http.path.clone().unwrap_or_else(|| "/".to_owned());
            Ask::Http(port(container, &http.port), path)
        } else {
            Ask::Tcp(port(container, &probe.tcp_socket.as_ref()?.port))
        };
        let seconds = |value: Option<i32>, default: u32| {
            let value = value.map_or(default, |value| u32::try_from(value).unwrap_or(0));
            Duration::from_secs(u64::from(value))
        };
        Some(Self {
            ask,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: wishes.probe_period.unwrap_or(seconds(probe.period_seconds, 10)),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe
                .failure_threshold
                .map_or(3, |n| u32::try_from(n).unwrap_or(1)),
        })
    }
}

fn port(container: &Container, port: &IntOrString) -> u16 {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container.ports.as_ref().and_then(|ports| {
            let port = ports.iter().find(|port| port.name.as_ref() == Some(name))?;
            Some(port.container_port)
        }),
    };
    let number = number.unwrap_or_else(|| panic!("the probe's port {port:?} is none of the container's"));
    u16::try_from(number).expect("a port")
}

/// `upstream` of `ghcr.io/holdfast-dev/upstream:0.1.0`.
fn repository(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_as_kubernetes_does() {
        let env = BTreeMap::from([("POD_IP".to_owned(), "127.1.1.2".to_owned())]);
        for (word, expected) in [
            ("$(POD_IP):8080", "127.1.1.2:8080"),
            ("a$(NONE)b", "a$(NONE)b"),
            ("$$(POD_IP)", "$(POD_IP)"),
            ("100$", "100$"),
        ] {
            assert_eq!(expand(word, &env), expected, "{word}");
        }
    }

    #[test]
    fn the_unspecified_address_is_the_pods() {
        let ip = Ipv4Addr::new(127, 1, 1, 2);
        for (word, expected) in [
            ("0.0.0.0:80", "127.1.1.2:80"),
            ("--listen=[::]:80", "--listen=127.1.1.2:80"),
            ("10.0.0.0:80", "10.0.0.0:80"),
        ] {
            assert_eq!(localise(word, ip), expected, "{word}");
        }
    }

    #[test]
    fn an_image_is_known_by_the_last_word_of_its_name() {
        assert!(
            is_missing("example.com:5000/a/missing:1"),
            "the tag must not count"
        );
        assert!(!is_missing("missing/upstream"), "folders must not count");
    }
}
