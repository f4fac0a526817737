//! The files of `src/wire/generated/` against the proto files. They are checked in so that users of the crate compile nothing
//! else. To make them anew: `HOLDFAST_WRITE=1 cargo test -p extproc --test generated`.

use std::fs;
use std::path::Path;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const NAMES: [&str; 5] = [
    "descriptor.bin",
    "envoy.config.core.v3.rs",
    "envoy.extensions.filters.http.ext_proc.v3.rs",
    "envoy.service.ext_proc.v3.rs",
    "envoy.r#type.v3.rs",
];

/// Declares the names and values of headers as `bytes`: the same on the wire, and neither checked for UTF-8 nor copied.
fn as_bytes(files: &mut FileDescriptorSet) {
    let as_bytes = |message: &mut DescriptorProto, fields: &[&str]| {
        for field in &mut message.field {
            if fields.contains(&field.name()) {
                field.set_type(Type::Bytes);
            }
        }
    };
    for message in files.file.iter_mut().flat_map(|file| &mut file.message_type) {
        match message.name() {
            "HeaderValue" => as_bytes(message, &["key", "value"]),
            "HeaderMutation" => as_bytes(message, &["remove_headers"]),
            _ => {}
        }
    }
}

#[test]
fn what_is_checked_in_is_what_the_proto_files_say() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = package.join("proto");
    let made = tempfile::tempdir().unwrap();
    let service = proto.join("envoy/service/ext_proc/v3/external_processor.proto");
    let mut files = protox::compile([service], [&proto]).unwrap();
    fs::write(made.path().join("descriptor.bin"), files.encode_to_vec()).unwrap();
    as_bytes(&mut files);
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .out_dir(made.path())
        .compile_fds(files)
        .unwrap();
    let checked_in = package.join("src/wire/generated");
    if std::env::var_os("HOLDFAST_WRITE").is_some() {
        fs::create_dir_all(&checked_in).unwrap();
        for name in NAMES {
            fs::copy(made.path().join(name), checked_in.join(name)).unwrap();
        }
    }
    for name in NAMES {
        assert!(
            fs::read(made.path().join(name)).unwrap() == fs::read(checked_in.join(name)).unwrap(),
            "extproc/sdk/src/wire/generated/{name} must be made anew: HOLDFAST_WRITE=1 cargo test -p extproc --test generated"
        );
    }
}
