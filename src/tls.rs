//! Whom a server must prove to be: the authorities of a PEM file, or those of the system.
//!
//! Refuses to fall back: a file that cannot be read, or that holds no certificate, is an error and never a weaker check;
//! and to connect. Whoever asks says in which setting the fault lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be used: {why}", .path.display())]
    File { path: PathBuf, why: String },
    #[error("the system's certificate authorities cannot be read: {0}")]
    System(std::io::Error),
    #[error("TLS cannot be set up: {0}")]
    SetUp(rustls::Error),
}

impl Error {
    pub fn file(path: &Path, why: &dyn std::fmt::Display) -> Error {
        Error::File { path: path.to_owned(), why: why.to_string() }
    }
}

/// The one implementation of ciphers here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client's configuration that does not yet say whom it trusts.
///
/// # Errors
/// [`Error::SetUp`].
pub fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::SetUp)
}

/// Trusts the authorities of the file; without a file those of the system, or nobody if no `https` is spoken.
///
/// # Errors
/// A file, or a system's store, that cannot be used.
pub fn trusting(
    ca_file: Option<&Path>,
    is_https: bool,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let builder = builder()?;
    match ca_file {
        Some(path) => Ok(builder.with_root_certificates(roots(path)?)),
        None if is_https => builder.with_native_roots().map_err(Error::System),
        None => Ok(builder.with_root_certificates(RootCertStore::empty())),
    }
}

/// Every certificate of a PEM file, one at least.
///
/// # Errors
/// [`Error::File`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(Error::file(path, &"it holds no certificate")),
        Ok(all) => Ok(all),
        Err(error) => Err(Error::file(path, &error)),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error::file(path, &error))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/http/testdata").join(name)
    }

    #[test]
    fn a_file_is_read_or_refused_and_nothing_takes_its_place() {
        assert!(trusting(Some(&file("ca.pem")), true).is_ok());
        for name in ["none.pem", "key.pem"] {
            let told = trusting(Some(&file(name)), true).err().unwrap().to_string();
            assert!(told.contains(name) && told.contains("cannot be used"), "{told}");
        }
        assert!(trusting(None, false).is_ok());
    }
}
