//! Where a real kube-apiserver, kube-controller-manager and etcd are found. Never skips in CI.
//!
//! In this order: the folder `KUBEBUILDER_ASSETS` names (the convention of Kubernetes' envtest), else what
//! `../shared/kube/assets.sh`, beside the repository, puts into `target/tools/kube-assets`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use harness::binaries;
use harness::skip::skip;

const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];

/// The folder, or `None` after a line that says what is missing ([`skip`]).
pub fn find_or_skip() -> Option<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(dir) => Some(dir),
        Err(missing) => {
            skip(missing);
            None
        }
    }
}

/// The folder with the definitions of the systems that manifests are for, the Gateway API among them, or `None` after a
/// line that says so.
pub fn definitions_or_skip() -> Option<PathBuf> {
    let folder = shared("crds");
    let found = folder.is_dir();
    if !found {
        skip(&format!(
            "no definitions of the Gateway API: there is no {}",
            folder.display()
        ));
    }
    found.then_some(folder)
}

/// `../shared/NAME`: what the project shares with its siblings, beside the repository.
fn shared(name: &str) -> PathBuf {
    binaries::root().join("../shared").join(name)
}

fn find() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return complete(Path::new(&dir))
            .map_err(|missing| format!("KUBEBUILDER_ASSETS={}: {missing}", dir.display()));
    }
    let script = shared("kube/assets.sh");
    if !script.is_file() {
        return Err(format!(
            "no Kubernetes API server: KUBEBUILDER_ASSETS is not set and there is no {}",
            script.display()
        ));
    }
    let dir = target_dir().join("tools/kube-assets");
    let out = Command::new(&script)
        .arg(&dir)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    if !out.status.success() {
        return Err(format!("{} ended with {}", script.display(), out.status));
    }
    complete(&dir)
}

fn complete(dir: &Path) -> Result<PathBuf, String> {
    match PROGRAMS.iter().find(|name| !dir.join(name).is_file()) {
        None => Ok(dir.to_owned()),
        Some(name) => Err(format!("no {name} in {}", dir.display())),
    }
}

fn target_dir() -> PathBuf {
    let dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    binaries::root().join(dir)
}
