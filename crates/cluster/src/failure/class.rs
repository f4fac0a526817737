//! What clients may be told: one class of a closed set, found in the words of an API server and of container runtimes.
//! Those words stay here. What is not known by its words has the class of its kind.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus};

use fleet::lifecycle::FailureClass;

/// Why an object was not admitted. `None`: its words are not known.
pub(in super::super) fn of_admission(message: &str) -> Option<FailureClass> {
    let says = |words: &str| message.contains(words);
    // First what a webhook is made to say: the rest is its own text, and may look like anything.
    if says("failed calling webhook") {
        Some(FailureClass::Unreachable)
    } else if says("denied the request") || says(" denied request") {
        Some(FailureClass::ScaleRefused)
    } else if says("exceeded quota: ") || says("failed quota: ") || is_beyond_limits(message) {
        Some(FailureClass::Quota)
    } else if says("error looking up service account ")
        || says("no PriorityClass with name ")
        || says("RuntimeClass ")
    {
        Some(FailureClass::Config)
    } else {
        None
    }
}

/// As a LimitRange says it.
fn is_beyond_limits(message: &str) -> bool {
    let bounds = ["maximum ", "minimum "]
        .iter()
        .any(|bound| message.contains(bound));
    (bounds && message.contains(" usage per ")) || message.contains(" limit to request ratio per ")
}

/// What an answer 403 means: that it is not ours to do, or that it was not admitted.
pub(in super::super) fn of_forbidden(message: &str) -> FailureClass {
    let is_ours_to_do = message
        .split_once(" is forbidden: ")
        .is_some_and(|(_, why)| !(why.contains("User ") && why.contains(" cannot ")));
    of_admission(message).unwrap_or(if is_ours_to_do {
        FailureClass::ScaleRefused
    } else {
        FailureClass::Forbidden
    })
}

/// What another answer that is an error means.
pub(in super::super) fn of_error(code: u16, message: &str) -> FailureClass {
    of_admission(message).unwrap_or(if code < 500 {
        FailureClass::ScaleRefused
    } else {
        FailureClass::Unreachable
    })
}

/// Why a container waits.
pub(super) fn of_container(container: &ContainerStatus, waiting: &ContainerStateWaiting) -> FailureClass {
    match waiting.reason.as_deref().unwrap_or_default() {
        "CreateContainerConfigError" => FailureClass::Config,
        // The runtime could not execute the command, or what it is given does not fit.
        "CreateContainerError" | "PreCreateHookError" | "RunContainerError" | "StartError" => {
            of_runtime(waiting.message.as_deref())
        }
        // The hook is the container's own, and has failed.
        "PreStartHookError" | "PostStartHookError" => FailureClass::Crash,
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref();
            let last = last.and_then(|last| last.terminated.as_ref());
            match last.and_then(|last| Some((last.reason.as_deref()?, last.message.as_deref()))) {
                Some(("StartError" | "ContainerCannotRun", message)) => of_runtime(message),
                _ => FailureClass::Crash,
            }
        }
        _ => FailureClass::Image,
    }
}

fn of_runtime(message: Option<&str>) -> FailureClass {
    let message = message.unwrap_or_default();
    if message.contains("exec: ") || message.contains("executable") {
        FailureClass::Command
    } else {
        FailureClass::Config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_admitted_has_the_class_of_its_words() {
        let check = |message: &str, class: Option<FailureClass>| {
            assert_eq!(of_admission(message), class, "must be the class of {message:?}");
        };
        let quota = Some(FailureClass::Quota);
        check(
            "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1",
            quota,
        );
        check(
            "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: app",
            quota,
        );
        check(
            "pods \"a\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
            quota,
        );
        check(
            "pods \"a\" is forbidden: [minimum memory usage per Pod is 1Gi, but request is 1Mi, x]",
            quota,
        );
        check(
            "pods \"a\" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 3.0",
            quota,
        );
        let config = Some(FailureClass::Config);
        check(
            "pods \"a\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found",
            config,
        );
        check(
            "pods \"a\" is forbidden: no PriorityClass with name high was found",
            config,
        );
        check(
            "pods \"a\" is forbidden: pod rejected: RuntimeClass \"kata\" not found",
            config,
        );
        let refused = Some(FailureClass::ScaleRefused);
        check(
            "admission webhook \"v.example\" denied the request: exceeded quota: of patience",
            refused,
        );
        check(
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            refused,
        );
        check(
            "Internal error occurred: failed calling webhook \"v.example\": Post \"https://v\": EOF",
            Some(FailureClass::Unreachable),
        );
        check(
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": x",
            None,
        );
        check("", None);
    }

    #[test]
    fn what_is_forbidden_is_told_from_what_is_not_admitted() {
        let check = |message: &str, class: FailureClass| {
            assert_eq!(of_forbidden(message), class, "must be the class of {message:?}");
        };
        check(
            "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:holdfast-system:holdfast\" cannot update resource \"deployments/scale\" in API group \"apps\" in the namespace \"shop\"",
            FailureClass::Forbidden,
        );
        check("no", FailureClass::Forbidden);
        check(
            "deployments.apps \"web\" is forbidden: it is being looked after",
            FailureClass::ScaleRefused,
        );
        check(
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: no User cannot",
            FailureClass::ScaleRefused,
        );
    }

    #[test]
    fn an_error_is_a_refusal_or_the_servers_own() {
        let webhook = "admission webhook \"v.example\" denied the request: no";
        assert_eq!(of_error(400, webhook), FailureClass::ScaleRefused);
        assert_eq!(
            of_error(422, "Scale \"web\" is invalid: x"),
            FailureClass::ScaleRefused
        );
        assert_eq!(of_error(500, "etcdserver: no leader"), FailureClass::Unreachable);
        let fails = "Internal error occurred: failed calling webhook \"v.example\"";
        assert_eq!(of_error(500, fails), FailureClass::Unreachable);
    }
}
