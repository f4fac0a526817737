//! gRPC reflection of the service, and of health where the server has it.

use tonic_reflection::server::{Builder, v1, v1alpha};

use super::ServeError;
use crate::wire::DESCRIPTORS;

fn builder() -> Builder<'static> {
    let builder = Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    #[cfg(feature = "health")]
    let builder = builder.register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    builder
}

/// Both versions of the service: tools ask for the newer one first, and older tools know only the older one.
#[allow(clippy::type_complexity, reason = "two services whose types have no names")]
pub(super) fn services() -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
    ),
    ServeError,
> {
    let refused = |error: tonic_reflection::server::Error| ServeError::Reflection(error.to_string());
    Ok((
        builder().build_v1().map_err(refused)?,
        builder().build_v1alpha().map_err(refused)?,
    ))
}
