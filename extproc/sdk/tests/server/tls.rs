//! TLS and mTLS of a server, and what it says of files that it cannot use.

use std::path::Path;

use extproc::testing::{Modal, request_headers};
use extproc::{ServeError, Server, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Running, Seen, Waits, in_time, open};

/// An authority, and files of a certificate that it signed.
struct Files {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder, authority };
        std::fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        let (certificate, key) = files.signed();
        std::fs::write(files.path("cert.pem"), certificate).unwrap();
        std::fs::write(files.path("key.pem"), key).unwrap();
        files
    }

    fn signed(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn tls(&self) -> Tls {
        Tls::pem(self.path("cert.pem"), self.path("key.pem"))
    }

    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name("localhost")
    }
}

async fn is_answered(server: &Running, tls: ClientTlsConfig) -> bool {
    let endpoint = Endpoint::from_shared(format!("https://{}", server.address)).unwrap();
    let Ok(channel) = in_time(endpoint.tls_config(tls).unwrap().connect()).await else {
        return false;
    };
    let (sender, answers) = open(channel);
    sender.send(request_headers([(":path", "/")]).ends()).unwrap();
    in_time(answers).await.is_ok()
}

#[tokio::test]
async fn calls_come_over_tls() {
    let files = Files::new();
    let server = Running::new(Server::new(Waits(Seen::default())).tls(files.tls())).await;
    assert!(is_answered(&server, files.client()).await);
    assert!(!is_answered(&server, Files::new().client()).await);
}

#[tokio::test]
async fn clients_need_a_certificate_where_an_authority_is_given() {
    let files = Files::new();
    let tls = files.tls().client_ca(files.path("ca.pem"));
    let server = Running::new(Server::new(Waits(Seen::default())).tls(tls)).await;
    let identity = |(certificate, key): (String, String)| Identity::from_pem(certificate, key);
    assert!(is_answered(&server, files.client().identity(identity(files.signed()))).await);
    assert!(!is_answered(&server, files.client()).await);
    let other = identity(Files::new().signed());
    assert!(!is_answered(&server, files.client().identity(other)).await);
}

async fn refused(tls: Tls) -> String {
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::new(Waits(Seen::default())).listen(loopback).tls(tls);
    match server.bind().await {
        Err(error @ ServeError::Tls { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("must not listen"),
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
    let says = |text: String, file: &Path, words: &str| {
        assert!(
            text.contains(&file.display().to_string()) && text.contains(words),
            "{text}"
        );
    };
    let none = files.path("none.pem");
    says(refused(Tls::pem(&none, &key)).await, &none, "No such file");
    says(refused(Tls::pem(&key, &key)).await, &key, "no certificate");
    says(
        refused(Tls::pem(&certificate, &certificate)).await,
        &certificate,
        "no private key",
    );
    says(refused(files.tls().client_ca(&key)).await, &key, "no certificate");
    let other = files.path("other.pem");
    std::fs::write(&other, files.signed().1).unwrap();
    says(refused(Tls::pem(&certificate, &other)).await, &other, "");
}
