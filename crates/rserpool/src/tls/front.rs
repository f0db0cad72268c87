//! TLS towards clients that are nobody's: what a proxy shows them.

use super::{HANDSHAKE, Stream, TLS13, TlsError, certificates, keep_fresh, unusable};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

/// Shows a certificate, of whatever authority, to clients of which nothing is asked; all clones share one state.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<TlsAcceptor>,
}

impl Front {
    /// Reads a certificate, with what leads to its authority, and its key, PEM.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong, and how.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&certificate, &key)?);
        Ok(Self(Arc::new(Shared { certificate, key, current })))
    }

    /// Looks once in a while whether the files have changed, and reads them anew then.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn reload_when_changed(&self, every: Duration) {
        let files = vec![self.0.certificate.clone(), self.0.key.clone()];
        keep_fresh(every, files, Arc::downgrade(&self.0), |shared| {
            let read = read(&shared.certificate, &shared.key)?;
            *shared.current.write().unwrap_or_else(PoisonError::into_inner) = read;
            Ok(())
        });
    }

    /// Has a connection that a client has opened secured.
    ///
    /// # Errors
    /// The client does not speak TLS 1.3, or not within 5 s, or does not believe us.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let acceptor = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let secured = timeout(HANDSHAKE, acceptor.accept(socket)).await??;
        Ok(Stream::Secured(Box::new(TlsStream::Server(secured))))
    }
}

fn read(certificate: &PathBuf, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file = |source| TlsError::File { path: key.into(), wanted: "a key", source };
    let private = PrivateKeyDer::from_pem_file(key).map_err(file)?;
    let chain = certificates(certificate)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| unusable(certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
