//! TLS configurations from PEM files, for rustls with the ring provider.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files of one TLS side.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificate authorities of the other side.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file that cannot be used.
    #[error("cannot use the PEM file {path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Only one of certificate and key is set.
    #[error("cert_file and key_file belong together: set both or none")]
    Half,
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities; set tls.ca_file, or install the ca-certificates package")]
    NoRoots,
    /// Refused by rustls.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| failed(e.to_string()))?;
    if all.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(all) }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| TlsError::File { path: path.to_owned(), reason: e.to_string() })?;
    }
    Ok(roots)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| TlsError::File { path: path.to_owned(), reason: e.to_string() })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// `ca_file`, or the system's authorities.
fn roots(files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    if let Some(path) = &files.ca_file {
        return authorities(path);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// The dialling side: checks the other side against `ca_file` or the system's authorities, and shows our certificate if
/// there is one.
pub fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(files)?);
    Ok(Arc::new(match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(own)) => builder.with_client_auth_cert(certificates(cert)?, key(own)?)?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::Half),
    }))
}

/// What `pinned_certs` names: SHA-256 of the certificate's public key (SubjectPublicKeyInfo), in hexadecimal. `None` if it
/// cannot be read.
pub fn pin(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
    Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A certificate that is shown to others, and until when it is good.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The accepting side.
    pub config: Arc<ServerConfig>,
    /// When its own certificate is over; `None` if that cannot be read.
    pub expires: Option<SystemTime>,
}

fn expires(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// What an accepting side asks of TLS.
#[derive(Clone, Debug, Default)]
pub struct ServerSide {
    /// Our certificate and key, and the authorities of client certificates; absent: the system's.
    pub files: TlsFiles,
    /// The other side must show a certificate that an authority has signed.
    pub verify: bool,
    /// TLS 1.2 is refused.
    pub only_tls13: bool,
}

/// The accepting side: TLS 1.3, and 1.2 unless refused.
pub fn server(side: &ServerSide) -> Result<Shown, TlsError> {
    let files = &side.files;
    let (Some(cert), Some(own)) = (&files.cert_file, &files.key_file) else { return Err(TlsError::Half) };
    let versions = if side.only_tls13 { &[&rustls::version::TLS13][..] } else { rustls::ALL_VERSIONS };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = if side.verify {
        let path = files.ca_file.clone().unwrap_or_else(|| "(the system's certificate authorities)".into());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(files)?), provider())
            .build()
            .map_err(|e| TlsError::File { path, reason: e.to_string() })?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = certificates(cert)?;
    let expires = chain.first().and_then(expires);
    Ok(Shown { config: Arc::new(builder.with_single_cert(chain, key(own)?)?), expires })
}
