//! TLS of a listener: its certificate, and the authorities whose certificates callers must have. Can be replaced while
//! it serves; connections that are open keep what they began with.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, server};

/// What a listener shows and asks for. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

/// The contents of PEM files.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// The certificate, then what leads to its authority.
    pub chain: &'a str,
    /// Its private key.
    pub key: &'a str,
    /// Authorities. Given: callers must have a certificate of one of them.
    pub client_ca: Option<&'a str>,
}

/// Which file cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub part: Part,
    /// One sentence.
    pub reason: String,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Pem::chain`].
    Chain,
    /// [`Pem::key`].
    Key,
    /// [`Pem::client_ca`].
    ClientCa,
}

impl Tls {
    /// Refused: what rustls cannot use, a key that is another certificate's among it.
    ///
    /// # Errors
    /// The file and one sentence.
    pub fn try_new(pem: Pem<'_>) -> Result<Self, Refusal> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(config(pem)?)))))
    }

    /// For connections that are yet to come. Refused: nothing changes.
    ///
    /// # Errors
    /// As [`Tls::try_new`].
    pub fn replace(&self, pem: Pem<'_>) -> Result<(), Refusal> {
        let new = Arc::new(config(pem)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The handshake. The caller bounds its time.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let now = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(now).accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

fn config(pem: Pem<'_>) -> Result<ServerConfig, Refusal> {
    let chain = certificates(pem.chain, Part::Chain)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|e| refuse(Part::Key, &e))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| refuse(Part::Chain, &e))?;
    let builder = match pem.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities, Part::ClientCa)? {
                roots.add(authority).map_err(|e| refuse(Part::ClientCa, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| refuse(Part::ClientCa, &e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| refuse(Part::Key, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &str, part: Part) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|e| refuse(part, &e))?;
    if all.is_empty() {
        return Err(refuse(part, &"it holds no certificate"));
    }
    Ok(all)
}

fn refuse(part: Part, reason: &dyn fmt::Display) -> Refusal {
    Refusal {
        part,
        reason: reason.to_string(),
    }
}
