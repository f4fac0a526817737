//! TLS before a server of one name, and what clients see that ask for another.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::ResolvesServerCertUsingSni;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

use crate::Target;

/// What is done to a client whose SNI is not the server's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherName {
    /// The handshake is ended: this server has another name.
    Refused,
    /// It is shown the certificate of the server's own name, to make of it what it will.
    Shown,
}

/// A certificate for one name, of an authority of its own.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    authority: String,
}

impl Tls {
    /// Makes the authority and the certificate.
    pub fn of(name: &str, other: OtherName) -> Self {
        let mut params = CertificateParams::default();
        // One that is named like what it signs would count as signed by itself.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let config = match other {
            OtherName::Shown => builder.with_single_cert(chain, key).unwrap(),
            OtherName::Refused => {
                let mut by_name = ResolvesServerCertUsingSni::new();
                let key = ring::sign::any_supported_type(&key).unwrap();
                by_name.add(name, CertifiedKey::new(chain, key)).unwrap();
                builder.with_cert_resolver(Arc::new(by_name))
            }
        };
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority.pem(),
        }
    }

    /// Makes Envoy's cluster of a target ask by TLS for the host that each request names, and believe no other certificate.
    pub fn expected_by(&self, target: Target) -> Target {
        let context = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let socket = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("type.googleapis.com/{context}"),
                "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": self.authority}}},
            },
        });
        let by_host = json!({options: {
            "@type": format!("type.googleapis.com/{options}"),
            "upstream_http_protocol_options": {"auto_sni": true, "auto_san_validation": true},
            "explicit_http_config": {"http_protocol_options": {}},
        }});
        target
            .cluster("transport_socket", socket)
            .cluster("typed_extension_protocol_options", by_host)
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(socket).await
    }
}
