//! The digest of a request: SHA-256 of its tenant, method, path and body, one after the other, as the Python SDK's
//! `DigestExtProcService` has it.

use sha2::{Digest as _, Sha256};

use super::checksum::hex;

/// Whose request it is where no header says so.
pub const UNKNOWN_TENANT: &[u8] = b"unknown";

/// A digest under way. Keeps nothing of the body.
#[derive(Clone, Debug)]
pub struct RequestDigest(Sha256);

impl RequestDigest {
    /// Begins with what the request's headers say: `tenant` is [`UNKNOWN_TENANT`] where it is absent or empty, `path` is
    /// `:path` with its query.
    pub fn new(tenant: Option<&[u8]>, method: &[u8], path: &[u8]) -> Self {
        let tenant = tenant
            .filter(|tenant| !tenant.is_empty())
            .unwrap_or(UNKNOWN_TENANT);
        Self(
            Sha256::new()
                .chain_update(tenant)
                .chain_update(method)
                .chain_update(path),
        )
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was taken so far.
    pub fn bytes(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }

    /// The same in lower-case hex.
    pub fn hex(&self) -> String {
        hex(&self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_the_python_sdk_printed() {
        // From the transcripts in its README.
        let get = RequestDigest::new(None, b"GET", b"/something");
        assert_eq!(
            get.hex(),
            "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6"
        );
        let mut put = RequestDigest::new(None, b"PUT", b"/something");
        put.update(b"{\"hello\"");
        put.update(b":\"hi\"}");
        assert_eq!(
            put.hex(),
            "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60"
        );
    }

    #[test]
    fn a_tenant_without_a_name_is_unknown() {
        let digest = |tenant| RequestDigest::new(tenant, b"GET", b"/").hex();
        assert_eq!(digest(Some(b"")), digest(None));
        assert_eq!(digest(Some(UNKNOWN_TENANT)), digest(None));
        assert_ne!(digest(Some(b"acme")), digest(None));
    }
}
