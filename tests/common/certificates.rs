//! An authority of our own, and what it signs, as PEM files.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// A certificate authority whose files are in a folder.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Files of a certificate and its key.
pub struct Certificate {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new(dir: &Path) -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "leafd test authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(dir.join("ca.pem"), issuer.pem()).expect("written");
        Authority { dir: dir.to_owned(), issuer }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A server's certificate for `localhost` and `127.0.0.1`, with `name` as its common name and file name.
    pub fn server(&self, name: &str) -> Certificate {
        self.issue(name, &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate for the mail address `name@localhost`.
    pub fn client(&self, name: &str) -> Certificate {
        self.issue(name, &[&format!("{name}@localhost")], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        let files =
            Certificate { cert: self.dir.join(format!("{name}.pem")), key: self.dir.join(format!("{name}.key.pem")) };
        fs::write(&files.cert, cert.pem()).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }
}
