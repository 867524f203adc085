//! Files that the configuration names: whether they can be read, and hold what they should.

use crate::config::tls::TlsConfig;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// A file that can be read.
pub(super) fn readable(what: &str, path: Option<&Path>, errors: &mut Vec<String>) {
    if let Some(path) = path
        && let Err(error) = std::fs::File::open(path)
    {
        errors.push(format!("{what}: cannot read {}: {error}", path.display()));
    }
}

/// A PEM file with at least one certificate.
pub(super) fn certificates(what: &str, path: Option<&Path>, errors: &mut Vec<String>) {
    let Some(path) = path else { return };
    let found = CertificateDer::pem_file_iter(path).and_then(|mut certificates| certificates.next().transpose());
    pem(what, "certificate", path, found.and_then(|first| first.ok_or(Error::NoItemsFound)), errors);
}

/// A PEM file with a private key.
pub(super) fn key(what: &str, path: Option<&Path>, errors: &mut Vec<String>) {
    if let Some(path) = path {
        pem(what, "private key", path, PrivateKeyDer::from_pem_file(path), errors);
    }
}

/// The files of a listener's TLS.
pub(super) fn tls(what: &str, tls: &TlsConfig, errors: &mut Vec<String>) {
    certificates(&format!("{what} cert_file"), Some(&tls.cert_file), errors);
    certificates(&format!("{what} ca_file"), tls.ca_file.as_deref(), errors);
    key(&format!("{what} key_file"), Some(&tls.key_file), errors);
}

fn pem<T>(what: &str, kind: &str, path: &Path, found: Result<T, Error>, errors: &mut Vec<String>) {
    let path = path.display();
    match found {
        Ok(_) => {}
        Err(Error::NoItemsFound) => errors.push(format!("{what}: there is no PEM {kind} in {path}")),
        Err(Error::Io(error)) => errors.push(format!("{what}: cannot read {path}: {error}")),
        Err(error) => errors.push(format!("{what}: {path} is no PEM file: {error}")),
    }
}
