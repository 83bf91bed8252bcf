//! The certificate of the network listener: the one on disk, or a self-signed one made once.

use std::io;
use std::path::{Path, PathBuf};

use openapi::NodeName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot store the certificate: {0}")]
    Write(#[from] io::Error),
    #[error("cannot read {path} as PEM: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Makes a certificate for this node unless there is one. The key is readable by root alone.
pub(crate) fn ensure(cert: &Path, key: &Path, node: &NodeName) -> Result<bool, TlsError> {
    if cert.exists() && key.exists() {
        return Ok(false);
    }
    let names = [node.to_string(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "proxmox-lxcri");
    subject.push(DnType::CommonName, node.to_string());
    params.distinguished_name = subject;
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    // The key first: a certificate without its key would be kept, and refused at each start.
    pve_integration::atomic::write(key, 0o600, pair.serialize_pem().as_bytes())?;
    pve_integration::atomic::write(cert, 0o644, made.pem().as_bytes())?;
    Ok(true)
}

/// TLS 1.2 and 1.3. HTTP/1.1 alone is offered, because PVE's clients read the reason phrase, which
/// HTTP/2 has none of.
pub(crate) fn config(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain = chain(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::Pem { path: key.to_owned(), source })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// SHA-256 of the certificate as clients pin it: upper-case hex pairs between colons.
pub(crate) fn fingerprint(pem: &[u8]) -> Result<String, pem::Error> {
    let digest = Sha256::digest(CertificateDer::from_pem_slice(pem)?);
    Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if chain.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn makes_a_usable_certificate_once() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let node = "pve1".parse().unwrap();

        assert!(ensure(&cert, &key, &node).unwrap());
        assert!(!ensure(&cert, &key, &node).unwrap());

        assert_eq!(fs_err::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(config(&cert, &key).unwrap().alpn_protocols, [b"http/1.1"]);
        assert_eq!(fingerprint(&fs_err::read(&cert).unwrap()).unwrap().len(), 32 * 3 - 1);
    }

    #[test]
    fn names_the_file_it_cannot_use() {
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("c.pem");
        fs_err::write(&cert, "no pem").unwrap();

        let message = config(&cert, &cert).unwrap_err().to_string();

        assert!(message.contains("c.pem"), "{message}");
    }
}
