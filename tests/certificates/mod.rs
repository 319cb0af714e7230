//! Certificates for tests: good ones, expired ones, for another host, or of an authority that nobody trusts.
//!
//! Included by the tests that need them, those of the crate and the live ones.

#![allow(dead_code, reason = "each of those who include it uses a part")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// For as long as these tests may live.
    Good,
    /// It was, until 2020.
    Expired,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate that those who trust it name.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of server and client for these names and addresses. The first is its common name too.
    pub(crate) fn issue(&self, hosts: &[&str], validity: Validity) -> Issued {
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, hosts[0]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

impl Issued {
    /// Writes `NAME.crt`, `NAME.key`, and both in `NAME.pem`, as Kafka and Cassandra read them: the paths of the first two.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let path = |end: &str| directory.join(format!("{name}.{end}"));
        std::fs::write(path("crt"), &self.certificate).unwrap();
        std::fs::write(path("key"), &self.key).unwrap();
        std::fs::write(path("pem"), format!("{}{}", self.key, self.certificate)).unwrap();
        (path("crt"), path("key"))
    }
}
