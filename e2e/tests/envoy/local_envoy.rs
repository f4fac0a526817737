//! What ships in `local-envoy/` is what Envoy and the control plane take.

use std::path::Path;
use std::process::Command;

use harness::binaries;
use serde_json::Value;

#[test]
fn envoy_takes_both_configurations() {
    for name in ["envoy.yaml", "envoy-elected.yaml"] {
        let shipped = read(name);
        let wasm = binaries::wasm();
        let here = shipped.replace("target/dist/holdfast.wasm", wasm.to_str().unwrap());
        assert_ne!(here, shipped, "{name} must load the filter from target/dist");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, here).unwrap();
        check_accepted(&file);
    }
}

#[test]
fn envoy_takes_the_external_processors() {
    for name in ["envoy.yaml", "one-filter.yaml", "bodies.yaml"] {
        check_accepted(&binaries::root().join("local-envoy/extproc").join(name));
    }
}

#[test]
fn one_filter_differs_from_six_in_nothing_else() {
    let [six, one] = ["extproc/envoy.yaml", "extproc/one-filter.yaml"].map(|name| {
        let mut config: Value = serde_norway::from_str(&read(name)).unwrap();
        let hcm = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let hcm = config.pointer_mut(hcm).unwrap();
        let filters = hcm["http_filters"].take();
        let filters = filters.as_array().unwrap();
        let (router, processors) = filters.split_last().unwrap();
        let first = &processors[0]["typed_config"];
        for processor in processors {
            let mut settings = processor["typed_config"].clone();
            let cluster = settings["grpc_service"]["envoy_grpc"]["cluster_name"].take();
            assert_eq!(
                cluster, processor["name"],
                "{name}: each filter asks a processor of its own"
            );
            let mut expected = first.clone();
            expected["grpc_service"]["envoy_grpc"]["cluster_name"].take();
            assert_eq!(settings, expected, "{name}: all filters are set up alike");
            let disabled = &hcm["route_config"]["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"];
            let disabled = &disabled[processor["name"].as_str().unwrap()]["disabled"];
            assert_eq!(
                disabled,
                &Value::Bool(true),
                "{name}: /no-ext-procs must pass {processor}"
            );
        }
        hcm["http_filters"] = Value::Array(vec![router.clone()]);
        hcm["route_config"]["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"].take();
        let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
        assert_eq!(clusters.len(), processors.len() + 1, "{name}");
        clusters.truncate(1);
        (config, processors.len())
    });
    assert_eq!(six.0, one.0);
    assert_eq!((six.1, one.1), (6, 1));
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

fn read(name: &str) -> String {
    std::fs::read_to_string(binaries::root().join("local-envoy").join(name)).unwrap()
}

/// Fails unless Envoy takes the file as it is.
fn check_accepted(file: &Path) {
    let out = Command::new(binaries::envoy())
        .args(["--mode", "validate", "--config-path"])
        .arg(file)
        .output();
    let out = out.unwrap();
    assert!(
        out.status.success(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&out.stderr)
    );
}
