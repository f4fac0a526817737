//! Makes the certificates of a test cluster. They leave its folder only within kubeconfigs there.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

/// Names that the API server is called by.
const API_SERVER: [&str; 5] = [
    "127.0.0.1",
    "10.0.0.1",
    "localhost",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate authority and what it has signed, as PEM files in one folder.
pub(super) struct Certificates {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes the authority, the API server's certificate and the key that signs service accounts' tokens.
    pub(super) fn create(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("e2e", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let made = Self {
            dir: dir.to_owned(),
            ca,
        };
        made.write("ca.crt", &made.ca.pem());
        let mut params = CertificateParams::new(API_SERVER.map(str::to_owned)).unwrap();
        params.distinguished_name = subject("kube-apiserver", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = made.sign(params);
        made.write("apiserver.crt", &certificate);
        made.write("apiserver.key", &key);
        let tokens = KeyPair::generate().unwrap();
        made.write("sa.key", &tokens.serialize_pem());
        made.write("sa.pub", &tokens.public_key_pem());
        made
    }

    /// A client's certificate and key, both PEM.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// The path of one of the files.
    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn sign(&self, mut params: CertificateParams) -> (String, String) {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.dir.join(name), pem).unwrap();
    }
}

fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}
