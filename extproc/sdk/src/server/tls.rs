//! TLS of a server, from PEM files. Errors name the file.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::ServeError;

/// The certificate of a server, and whether clients need one. Files are read when the server binds.
#[derive(Clone, Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Tls {
    /// The files with the certificate chain (the server's own first) and its private key, both PEM.
    pub fn pem(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self {
            certificate: certificate.as_ref().to_owned(),
            key: key.as_ref().to_owned(),
            client_ca: None,
        }
    }

    /// Clients must show a certificate that one of the authorities in this PEM file has signed (mTLS).
    #[must_use]
    pub fn client_ca(mut self, authorities: impl AsRef<Path>) -> Self {
        self.client_ca = Some(authorities.as_ref().to_owned());
        self
    }

    pub(super) fn load(&self) -> Result<ServerTlsConfig, ServeError> {
        let chain = certificates(&self.certificate)?;
        let key = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| bad(&self.key, format!("no private key: {error}")))?;
        let mut config = ServerTlsConfig::new().identity(Identity::from_pem(chain, key));
        if let Some(authorities) = &self.client_ca {
            config = config.client_ca_root(Certificate::from_pem(certificates(authorities)?));
        }
        Ok(config)
    }

    /// What is wrong with files that can be read: the key does not belong to the certificate, say.
    pub(super) fn refused(&self, error: &tonic::transport::Error) -> ServeError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        bad(
            &self.certificate,
            format!("with the key {}: {reason}", self.key.display()),
        )
    }
}

/// The content of a PEM file that has certificates, all of which can be read.
fn certificates(file: &Path) -> Result<Vec<u8>, ServeError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad(file, "no certificate in it")),
        Ok(_) => Ok(pem),
        Err(error) => Err(bad(file, error.to_string())),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(file).map_err(|error| bad(file, error.to_string()))
}

fn bad(file: &Path, reason: impl Into<String>) -> ServeError {
    ServeError::Tls {
        file: file.to_owned(),
        reason: reason.into(),
    }
}
