//! What ships in `local-envoy/` is what Envoy and the control plane take.

use std::process::Command;

use harness::binaries;

#[test]
fn envoy_takes_both_configurations() {
    for name in ["envoy.yaml", "envoy-elected.yaml"] {
        let shipped = std::fs::read_to_string(binaries::root().join("local-envoy").join(name)).unwrap();
        let wasm = binaries::wasm();
        let here = shipped.replace("target/dist/holdfast.wasm", wasm.to_str().unwrap());
        assert_ne!(here, shipped, "{name} must load the filter from target/dist");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, here).unwrap();
        let out = Command::new(binaries::envoy())
            .args(["--mode", "validate", "--config-path"])
            .arg(file)
            .output();
        let out = out.unwrap();
        assert!(
            out.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn the_control_plane_takes_the_targets() {
    let targets = binaries::root().join("local-envoy/targets.yaml");
    let out = Command::new(binaries::control_plane())
        .arg("validate")
        .arg(targets)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
