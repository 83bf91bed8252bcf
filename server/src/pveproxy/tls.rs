//! Knowing pveproxy by its certificate: by the files that it shows it from, as PVE's nodes know each
//! other, or by the cluster's authority. Nothing else is trusted, the system's authorities included.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::Settings;

pub(super) fn config(settings: &Settings) -> ClientConfig {
    known(settings.ca.clone(), settings.pins.clone())
}

/// A server whose certificate `ca` signed, or that shows the first one of one of `pins`.
pub(crate) fn known(ca: Option<PathBuf>, pins: Vec<PathBuf>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let known = Known { ca, pins, provider: Arc::clone(&provider) };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider is the one these versions are made for")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(known))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Known {
    ca: Option<PathBuf>,
    pins: Vec<PathBuf>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    /// The files are read each time, as certificates are renewed; connections are few.
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let first = |path: &PathBuf| certificates(path).into_iter().next();
        if self.pins.iter().filter_map(first).any(|pinned| pinned == *own) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.ca.iter().flat_map(certificates));
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider));
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verifier = verifier.build().map_err(|_| unknown)?;
        verifier.verify_server_cert(own, above, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, own, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, own, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// None of a file that is not there.
fn certificates(path: &PathBuf) -> Vec<CertificateDer<'static>> {
    let text = fs_err::read(path).unwrap_or_default();
    CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect()
}
