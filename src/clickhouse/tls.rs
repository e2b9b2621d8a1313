//! Whom an `https` endpoint must prove to be, and as whom we appear to it.
//!
//! Refuses to fall back: a file that cannot be read is an error at start, never a weaker check.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::Tls;
use super::error::Error;

/// The TLS side of the connector. Without `https` endpoints nothing is read and nobody is trusted.
pub fn client_config(tls: &Tls, any_https: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(format!("TLS cannot be set up: {e}")))?;
    let builder = if tls.insecure_skip_verify {
        tracing::warn!("clickhouse.tls.insecure_skip_verify is set: certificates of servers are not checked");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else if let Some(path) = &tls.ca_file {
        builder.with_root_certificates(roots(path)?)
    } else if any_https {
        builder
            .with_native_roots()
            .map_err(|e| fault(format!("the system's certificate authorities cannot be read: {e}")))?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|e| fault(format!("the client certificate does not fit its key: {e}")))
        }
        _ => Err(fault("clickhouse.tls.cert_file and key_file belong together".to_owned())),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unreadable(path, &e))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?.collect();
    match all {
        Ok(all) if all.is_empty() => Err(unreadable(path, &"it holds no certificate")),
        Ok(all) => Ok(all),
        Err(e) => Err(unreadable(path, &e)),
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    fault(format!("{} cannot be used: {error}", path.display()))
}

fn fault(message: String) -> Error {
    Error::Config { message, hint: "give PEM files that this process may read, under clickhouse.tls" }
}

/// Accepts every certificate, because it was asked for; the handshake itself is still checked.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
