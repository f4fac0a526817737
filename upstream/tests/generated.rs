//! The files of `upstream/src/generated/` against the proto file. They are checked in so that building the upstream needs no
//! compiler of proto files. To make them anew: `HOLDFAST_WRITE=1 cargo test -p upstream --test generated`.

use std::fs;
use std::path::Path;

use prost::Message as _;

const NAMES: [&str; 2] = ["holdfast.echo.v1.rs", "echo.bin"];

#[test]
fn what_is_checked_in_is_what_the_proto_file_says() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = package.join("proto");
    let made = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([proto.join("holdfast/echo/v1/echo.proto")], [&proto]).unwrap();
    fs::write(made.path().join("echo.bin"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(made.path())
        .compile_fds(descriptors)
        .unwrap();
    let checked_in = package.join("src/generated");
    if std::env::var_os("HOLDFAST_WRITE").is_some() {
        for name in NAMES {
            fs::copy(made.path().join(name), checked_in.join(name)).unwrap();
        }
    }
    for name in NAMES {
        assert!(
            fs::read(made.path().join(name)).unwrap() == fs::read(checked_in.join(name)).unwrap(),
            "upstream/src/generated/{name} must be made anew: HOLDFAST_WRITE=1 cargo test -p upstream --test generated"
        );
    }
}
