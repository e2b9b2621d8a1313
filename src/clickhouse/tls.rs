//! Whom an `https` endpoint must prove to be, and as whom we appear to it.
//!
//! Refuses to fall back: a file that cannot be read is an error at start, never a weaker check.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::config::Tls;
use super::error::Error;
use crate::tls;

/// The TLS side of the connector. Without `https` endpoints nothing is read and nobody is trusted.
pub fn client_config(config: &Tls, any_https: bool) -> Result<ClientConfig, Error> {
    let builder = if config.insecure_skip_verify {
        tracing::warn!("clickhouse.tls.insecure_skip_verify is set: certificates of servers are not checked");
        let accept = Arc::new(AcceptAny(tls::provider()));
        tls::builder().map_err(fault)?.dangerous().with_custom_certificate_verifier(accept)
    } else {
        tls::trusting(config.ca_file.as_deref(), any_https).map_err(fault)?
    };
    match (&config.cert_file, &config.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| fault(tls::Error::file(key, &e)))?;
            builder
                .with_client_auth_cert(tls::certificates(cert).map_err(fault)?, key)
                .map_err(|e| fault(format!("the client certificate does not fit its key: {e}")))
        }
        _ => Err(fault("clickhouse.tls.cert_file and key_file belong together")),
    }
}

fn fault(what: impl std::fmt::Display) -> Error {
    let hint = "give PEM files that this process may read, under clickhouse.tls";
    Error::Config { message: what.to_string(), hint }
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
