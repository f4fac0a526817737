//! Tokens and certificates in files: read again when they change, and kept when they have become unusable.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{ControlPlane, document, listener, run, until};

const OLD: &str = "0123456789abcdef-old";
const NEW: &str = "0123456789abcdef-new";

#[test]
fn a_token_is_changed_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    // As Kubernetes mounts a Secret: a link to a directory is swapped.
    let write = |version: &str, text: &str| {
        let inner = directory.path().join(version);
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("token"), text).unwrap();
        std::fs::set_permissions(inner.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(version, directory.path().join("new")).unwrap();
        std::fs::rename(directory.path().join("new"), directory.path().join("data")).unwrap();
    };
    write("1", OLD);
    let file = directory.path().join("data/token");
    let file = file.to_str().unwrap();
    let plane = ControlPlane::start(&document("web", &listener(1, ""), ""), &["--token-file", file]);
    assert_eq!(plane.status_with(OLD), 200);
    assert_eq!(plane.status_with(NEW), 401);
    write("2", &format!("{OLD}\n{NEW}\n"));
    until("the new token must be taken", || {
        (plane.status_with(NEW) == 200).then_some(())
    });
    assert_eq!(plane.status_with(OLD), 200, "the old one must be good meanwhile");
    write("3", "a b");
    let refused = plane.event("refused", "message");
    let expected = format!(
        "--token-file {file}: the token holds something other than visible ASCII: keeping the last good tokens"
    );
    assert_eq!(refused, expected);
    assert_eq!(plane.status_with(NEW), 200, "the last good ones must be kept");
    write("4", NEW);
    until("the old token must be refused", || {
        (plane.status_with(OLD) == 401).then_some(())
    });
    assert_eq!(plane.status_with(NEW), 200);
}

#[test]
fn a_weak_token_and_one_that_every_user_may_read_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "change-me").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let mut command = support::binary();
    // It ends at once: its targets are not there. The secrets are read before.
    let targets = directory.path().join("t.yaml");
    std::fs::write(&targets, document("web", &listener(1, ""), "")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    command.args([
        "serve",
        "--targets",
        targets.to_str().unwrap(),
        "--listen",
        &address,
    ]);
    let output = command.args(["--token-file", file]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    for expected in [
        format!("--token-file {file}: a token is shorter than 16 bytes and may be guessed"),
        format!("--token-file {file} may be read by everybody on this machine: chmod o-r"),
    ] {
        assert!(log.contains(&expected), "{expected:?} must be in {log}");
    }
}

#[test]
fn no_caller_is_let_in_from_afar_by_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let targets = directory.path().join("t.yaml");
    std::fs::write(&targets, document("web", &listener(1, ""), "")).unwrap();
    let serve = [
        "serve",
        "--targets",
        targets.to_str().unwrap(),
        "--listen",
        "0.0.0.0:0",
    ];
    let output = run(&serve);
    assert_eq!(output.status.code(), Some(1), "must be refused");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "control-plane: --listen 0.0.0.0:0 is beyond loopback: give it a --token-file or a --tls-client-ca, or say --insecure-no-token\n"
    );
    let plane = ControlPlane::start_at(
        "0.0.0.0:0",
        &document("web", &listener(1, ""), ""),
        &["--insecure-no-token"],
    );
    assert!(plane.address().starts_with("0.0.0.0:"), "must do as it is told");
}

#[test]
fn probes_have_a_listener_of_their_own() {
    let args = ["--admin-listen", "127.0.0.1:0", "--token", OLD];
    let plane = ControlPlane::start(&document("web", &listener(1, ""), ""), &args);
    assert_eq!(plane.get("/readyz").0, 404, "must be elsewhere");
    let admin = plane.admin().to_owned();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(support::get_at(&admin, path).0, 200, "{path} must be answered");
    }
    assert_eq!(
        support::get_at(&admin, "/v1/targets").0,
        404,
        "must have nothing else"
    );
}

#[test]
fn tls_files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let (one, other) = (self_signed(dir, "one"), self_signed(dir, "other"));
    let none = dir.join("none").display().to_string();
    std::fs::write(&none, "nothing").unwrap();
    for (chain, key, reason) in [
        (
            &none,
            &one.1,
            format!("--tls-cert {none}: it holds no certificate"),
        ),
        (&one.0, &none, format!("--tls-key {none}: ")),
        (&one.0, &other.1, format!("--tls-key {}: ", other.1)),
    ] {
        let targets = dir.join("t.yaml");
        std::fs::write(&targets, document("web", &listener(1, ""), "")).unwrap();
        let targets = targets.to_str().unwrap();
        let listen = ["serve", "--targets", targets, "--listen", "127.0.0.1:0"];
        let tls = ["--tls-cert", chain, "--tls-key", key, "--log", "error"];
        let output = run(&[&listen[..], &tls].concat());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "must be refused: {line}");
        let start = format!("control-plane: {reason}");
        assert!(
            line.starts_with(&start) && line.trim_end().lines().count() == 1,
            "must be {start:?} in one line: {line}"
        );
    }
}

#[test]
fn a_certificate_is_changed_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let (one, other) = (self_signed(dir, "one"), self_signed(dir, "other"));
    let shown = (dir.join("chain"), dir.join("key"));
    let install = |of: &(String, String)| {
        std::fs::copy(&of.0, &shown.0).unwrap();
        std::fs::copy(&of.1, &shown.1).unwrap();
    };
    install(&one);
    let (chain, key) = (shown.0.to_str().unwrap(), shown.1.to_str().unwrap());
    let args = [
        "--tls-cert",
        chain,
        "--tls-key",
        key,
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let plane = ControlPlane::start(&document("web", &listener(1, ""), ""), &args);
    assert_eq!(https(&plane, &one.0), Some(200), "must speak TLS");
    assert_eq!(https(&plane, &other.0), None, "must show its own certificate");
    std::fs::copy(&other.1, &shown.1).unwrap();
    let refused = plane.event("refused", "message");
    assert!(
        refused.starts_with(&format!("--tls-key {key}: "))
            && refused.ends_with("keeping the last good certificates"),
        "must name the file: {refused}"
    );
    assert_eq!(https(&plane, &one.0), Some(200), "must keep the last good one");
    install(&other);
    until("the new certificate must be shown", || https(&plane, &other.0));
    assert_eq!(https(&plane, &one.0), None);
}

/// Certificate and key of 127.0.0.1.
fn self_signed(dir: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (chain.display().to_string(), key.display().to_string())
}

/// By curl: the status, if the certificate is one of `authorities`.
fn https(plane: &ControlPlane, authorities: &str) -> Option<u16> {
    let url = format!("https://{}/v1/targets", plane.address());
    let args = [
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--http2",
    ];
    let output = Command::new("curl")
        .args(args)
        .args(["--cacert", authorities, &url])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .parse()
        .ok()
        .filter(|status| *status != 0)
}
