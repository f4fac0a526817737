//! kubectl renders what the tests read, and runs under the tests' API server.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::kube::assets;
use harness::skip::skip;
use serde::Deserialize as _;
use serde_json::Value;

use super::tree::{self, Object};

/// kubectl of any version from 1.20 on; it stands beside the API server or on `PATH`. `None`: there is none, and a line
/// said so.
pub(crate) fn find_or_skip() -> Option<PathBuf> {
    let beside = assets::find_or_skip()?.join("kubectl");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("kubectl"));
    let found = std::iter::once(beside)
        .chain(on_path)
        .find(|program| program.is_file());
    if found.is_none() {
        skip("no kubectl, neither beside the API server nor on PATH");
    }
    found
}

/// A script of `kubernetes/`, with that kubectl and kubeconfig. It is ended after a minute.
pub(crate) fn script(kubectl: &Path, kubeconfig: &Path, path: &str, args: &[&str]) -> Command {
    let mut dirs = vec![kubectl.parent().unwrap().to_owned()];
    dirs.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new("timeout");
    command
        .args(["60", "sh"])
        .arg(tree::root().join(path))
        .args(args)
        .env("PATH", std::env::join_paths(dirs).unwrap())
        .env("KUBECONFIG", kubeconfig)
        // What kubectl remembers of a server is kept by its address there, and another test's server had this one before.
        .env("HOME", kubeconfig.parent().unwrap())
        // In most tests there is no kubelet: what a script would wait for does not come.
        .env("TIMEOUT", "1s");
    command
}

/// What a program says on its standard output. It must end well.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "must end well: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kubectl_renders_the_same() {
    let Some(kubectl) = find_or_skip() else { return };
    for folder in tree::folders() {
        let mut ours = tree::render(folder);
        let mut render = Command::new(&kubectl);
        let mut text = said(render.arg("kustomize").arg(tree::root().join(folder)));
        for generated in tree::of_kind(&ours, "ConfigMap") {
            text = without_hash(&text, generated.name());
        }
        let mut theirs: Vec<_> = serde_norway::Deserializer::from_str(&text)
            .map(|document| Object(Value::deserialize(document).unwrap()))
            .collect();
        ours.sort_by_key(Object::title);
        theirs.sort_by_key(Object::title);
        let titles = |objects: &[Object]| objects.iter().map(Object::title).collect::<Vec<_>>();
        assert_eq!(
            titles(&theirs),
            titles(&ours),
            "{folder}: must have the same objects"
        );
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(theirs, ours, "{folder}: must be the same");
        }
    }
}

/// Kustomize appends `-` and ten characters to the names of generated objects.
fn without_hash(text: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let head = format!("name: {name}-");
    while let Some(at) = rest.find(&head) {
        let (before, after) = rest.split_at(at + head.len());
        let hash: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
        let keep = if hash.len() == 10 {
            before.strip_suffix('-').unwrap()
        } else {
            before
        };
        out.push_str(keep);
        rest = if hash.len() == 10 {
            &after[hash.len()..]
        } else {
            after
        };
    }
    out + rest
}
