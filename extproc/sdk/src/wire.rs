//! The messages of Envoy's external processing, as they are on the wire.
//!
//! They are generated from `proto/`, our own subset of the published interface: fields that are not in it are skipped when they
//! are read. Names and values of headers are `Bytes`: neither checked for UTF-8 nor copied. Users of the SDK need these types
//! only in tests and in tools; processors are written against [`Headers`](crate::Headers), [`Body`](crate::Body) and the replies.

/// The packages of the interface, by their published names.
#[allow(missing_docs, unreachable_pub, reason = "generated")]
#[allow(clippy::all, reason = "generated")]
#[rustfmt::skip]
mod envoy {
    pub mod config { pub mod core { pub mod v3 { include!("wire/generated/envoy.config.core.v3.rs"); } } }
    pub mod extensions { pub mod filters { pub mod http { pub mod ext_proc { pub mod v3 {
        include!("wire/generated/envoy.extensions.filters.http.ext_proc.v3.rs");
    } } } } }
    pub mod service { pub mod ext_proc { pub mod v3 { include!("wire/generated/envoy.service.ext_proc.v3.rs"); } } }
    pub mod r#type { pub mod v3 { include!("wire/generated/envoy.r#type.v3.rs"); } }
}

pub use envoy::config::core::v3::*;
pub use envoy::extensions::filters::http::ext_proc::v3::*;
pub use envoy::service::ext_proc::v3::*;
pub use envoy::r#type::v3::*;

/// The descriptors of these messages and of the service, as an encoded `FileDescriptorSet`: what gRPC reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!("wire/generated/descriptor.bin");

/// The full name of the gRPC service.
pub const SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";

/// The path of its one method.
pub const METHOD: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
