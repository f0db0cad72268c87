//! TLS 1.3: who we are, whom we believe, and who the other end is (RFC 5352 §9.2, RFC 5353 §6.2).
//!
//! In a secured scope registrars and elements show each other a certificate of the scope's
//! authority, and users believe registrars by theirs:
//!
//! ```text
//!   rserpool://SCOPE/registrar            a registrar
//!   rserpool://SCOPE/element/PATTERN      an element of the pools of that pattern
//!   rserpool://SCOPE/user                 a user
//!   rserpool://SCOPE/operator             somebody who reads tables
//! ```
//!
//! A certificate without any such URI is believed as a registrar's if it is for the address that was
//! dialled, or for one of the host names that are expected ([`Settings::names`]). What a name may do is
//! decided by the registrar's [`Authority`].

mod front;
mod records;

#[cfg(any(test, feature = "testing"))]
pub(crate) use records::fuzz;
pub(crate) use records::{Distrust, Records, is_tls};

use crate::proto::id::{PeId, PoolHandle};
use crate::proto::machine::{Identity, Name, NameKind, Subject};
use crate::proto::registrar::{Action, Authority, Grants};
use crate::proto::wire::capability::Owner;
use crate::scope::ScopeName;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, version::TLS13,
};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use crate::driver::Stream;
pub use front::Front;

/// Where certificates and keys are, and whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The scope whose URIs count. `None` takes that of the own certificate's URI.
    pub scope: Option<ScopeName>,
    /// Certificates of the scope's authorities, PEM.
    pub ca: PathBuf,
    /// The own certificate with what leads to the authority, and its key, PEM. None is for users whom
    /// registrars do not ask who they are.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Host names of registrars whose certificates have no URI: international ones are converted
    /// (RFC 3490).
    pub names: Vec<String>,
    /// Whether who connects may show no certificate. Defaults to no in the registrar's configuration.
    pub anonymous: bool,
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or holds nothing of what it should.
    #[error("cannot read {}: {source}; it should hold {wanted} in PEM", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// A certificate or key is of no use.
    #[error("cannot use {}: {reason}", .path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing says what the scope is.
    #[error(
        "no scope is given, and {} has no URI such as rserpool://SCOPE/user to take it from",
        .path.display()
    )]
    NoScope {
        /// The own certificate, or that of the authority if there is none.
        path: PathBuf,
    },
    /// An expected host name is none.
    #[error("{0:?} is not a host name")]
    Name(String),
}

/// Whom somebody has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A registrar.
    Registrar,
    /// Whoever has a certificate of the authority, or comes without where that is allowed: what it may
    /// do is decided by what it is.
    Anybody,
}

/// Why an element is not spoken to.
#[derive(Debug, thiserror::Error)]
pub enum Impostor {
    /// It does not speak TLS, or has no certificate of the authority that is valid, or does not
    /// believe who we are.
    #[error("TLS cannot be agreed on: {0}")]
    Handshake(io::Error),
    /// It has a certificate of the authority, but not of an element of the pool.
    #[error("its certificate is not for elements of pool {0}")]
    Pool(PoolHandle),
    /// It is an element of the pool, but not the one that the registrar has named.
    #[error("its certificate is not of the owner that the registrar has named")]
    Owner,
}

impl From<Impostor> for io::Error {
    fn from(impostor: Impostor) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, impostor)
    }
}

/// Longest time that a handshake takes.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);

/// What TLS connections are made with; all clones share one state.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    settings: Settings,
    scope: ScopeName,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    connector: TlsConnector,
    /// For connections to whoever is of the authority.
    to_anybody: Arc<ClientConfig>,
    /// The same, and each connection asks anew who the other end is.
    to_elements: TlsConnector,
    verifier: Arc<Verifier>,
    /// Nobody without a certificate of its own is connected to.
    acceptor: Option<TlsAcceptor>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.settings).finish()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings
    }
}

impl Eq for Tls {}

impl Tls {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong, and how.
    pub fn open(settings: Settings) -> Result<Self, TlsError> {
        let scope = scope_of(&settings)?;
        let current = RwLock::new(Current::read(&settings, &scope)?);
        Ok(Self(Arc::new(Shared { settings, scope, current })))
    }

    /// Reads them anew, for connections from now on; those that are there go on.
    ///
    /// # Errors
    /// As those of [`Tls::open`]; everything stays as it was then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Current::read(&self.0.settings, &self.0.scope)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Looks once in a while whether the files have changed, and reads them anew then, as long as
    /// anybody uses this. What cannot be read is logged, and what was read before stays.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn reload_when_changed(&self, every: Duration) {
        let settings = &self.0.settings;
        let own = settings.own.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files = own.chain([&settings.ca]).cloned().collect();
        keep_fresh(every, files, Arc::downgrade(&self.0), |shared| Self(shared).reload());
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The scope whose URIs count.
    pub fn scope(&self) -> &ScopeName {
        &self.0.scope
    }

    fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a connection to a registrar secured.
    pub(crate) async fn connect(
        &self,
        socket: TcpStream,
        to: SocketAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connecting = self.current().connector.connect(ServerName::from(to.ip()), socket);
        Ok(TlsStream::Client(timeout(HANDSHAKE, connecting).await??))
    }

    /// Has a connection to an element secured, before anything is said to it. Its certificate has to be
    /// one of an element of the pool, and of the owner that the registrar has named, if it has.
    ///
    /// # Errors
    /// [`Impostor`], inside of the error; the connection is closed then.
    pub async fn connect_element(
        &self,
        socket: TcpStream,
        pool: &PoolHandle,
        owner: Option<Owner>,
    ) -> io::Result<Stream> {
        let to = socket.peer_addr()?.ip();
        let secured = self.connect_element_over(socket, to, pool, owner).await?;
        Ok(Stream::Secured(Box::new(secured)))
    }

    /// The same, over whatever carries bytes.
    pub(crate) async fn connect_element_over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        to: IpAddr,
        pool: &PoolHandle,
        owner: Option<Owner>,
    ) -> io::Result<TlsStream<S>> {
        let connecting = self.current().to_elements.connect(ServerName::from(to), stream);
        let secured = timeout(HANDSHAKE, connecting).await.map_err(io::Error::from);
        let stream = TlsStream::Client(secured.flatten().map_err(Impostor::Handshake)?);
        let identity = identity_of_peer(&stream);
        let grants = Grants { scope: self.scope().as_str().into(), ..Grants::default() };
        // What belongs to its role, whichever element of the pool it is.
        let action = Action::Deregister { handle: pool, id: PeId(0) };
        let is_element = Authority::Secured(Arc::new(grants)).permits(&identity, &action);
        if !is_element {
            return Err(Impostor::Pool(pool.clone()).into());
        }
        match owner {
            Some(owner) if identity.owner() != Some(owner) => Err(Impostor::Owner.into()),
            _ => Ok(stream),
        }
    }

    /// What to connect with.
    fn client_config(&self, expected: Expected) -> Arc<ClientConfig> {
        let current = self.current();
        match expected {
            Expected::Registrar => current.connector.config().clone(),
            Expected::Anybody => current.to_anybody,
        }
    }

    /// What to be connected to with.
    fn server_config(&self) -> Option<Arc<ServerConfig>> {
        Some(self.current().acceptor?.config().clone())
    }

    /// Whether a certificate of the authority is one of a registrar, dialled there if it was.
    fn is_registrar(&self, certificates: &[CertificateDer<'_>], dialled: Option<IpAddr>) -> bool {
        let Some(first) = certificates.first() else { return false };
        let Ok(certificate) = ParsedCertificate::try_from(first) else { return false };
        let dialled = dialled.map(ServerName::from);
        self.current().verifier.is_registrar(first, &certificate, dialled.as_ref())
    }

    /// Has a connection that somebody has opened secured.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let acceptor = self.current().acceptor.ok_or(io::ErrorKind::Unsupported)?;
        Ok(TlsStream::Server(timeout(HANDSHAKE, acceptor.accept(stream)).await??))
    }
}

/// Who the other end of a connection has proved to be.
pub(crate) fn identity_of_peer<S>(stream: &TlsStream<S>) -> Identity {
    identity_of(stream.get_ref().1.peer_certificates().unwrap_or_default())
}

/// Who has shown these certificates.
pub(crate) fn identity_of(certificates: &[CertificateDer<'_>]) -> Identity {
    let certificate = certificates.first();
    certificate
        .and_then(|der| subject(der))
        .map_or(Identity::Anonymous, |subject| Identity::Verified(Arc::new(subject)))
}

/// Whether an error says that the other end is not to be trusted, or does not trust us.
pub(crate) fn is_distrust(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<Impostor>())
}

/// The names in a certificate; `None` if it has none, which nobody can be granted anything by.
fn subject(der: &CertificateDer<'_>) -> Option<Subject> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = Vec::new();
    let mut add = |kind, text: &str| names.push(Name { kind, text: text.into() });
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::URI(uri) => add(NameKind::Uri, uri),
                GeneralName::DNSName(host) => add(NameKind::Dns, host),
                _ => {}
            }
        }
    }
    for name in certificate.subject().iter_common_name() {
        if let Ok(text) = name.as_str() {
            add(NameKind::CommonName, text);
        }
    }
    names.sort_by_key(|name| name.kind);
    let owner = owner_of(&names.first()?.text);
    Some(Subject { names, owner })
}

/// What stands for an identity between registrars.
fn owner_of(name: &str) -> Owner {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut owner = [0; 16];
    owner.copy_from_slice(&digest[..16]);
    Owner(owner)
}

impl Current {
    fn read(settings: &Settings, scope: &ScopeName) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let authorities = certificates(&settings.ca)?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| unusable(&settings.ca, &error))?;
        }
        let roots = Arc::new(roots);
        let own = settings.own.as_ref().map(|(certificate, key)| {
            let file = |source| TlsError::File { path: key.clone(), wanted: "a key", source };
            let read = PrivateKeyDer::from_pem_file(key).map_err(file)?;
            Ok::<_, TlsError>((certificate, certificates(certificate)?, read))
        });
        let own = own.transpose()?;
        let verifier = |expected| {
            let names = settings.names.iter().map(|name| server_name(name));
            Ok::<_, TlsError>(Arc::new(Verifier {
                expected,
                roots: roots.clone(),
                algorithms: provider.signature_verification_algorithms,
                uri: format!("rserpool://{scope}/registrar"),
                names: names.collect::<Result<_, _>>()?,
            }))
        };
        let client = |verifier| {
            let client = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])
                .map_err(|error| unusable(&settings.ca, &error))?
                .dangerous()
                .with_custom_certificate_verifier(verifier);
            let Some((path, chain, key)) = &own else {
                return Ok(Arc::new(client.with_no_client_auth()));
            };
            let client = client.with_client_auth_cert(chain.clone(), key.clone_key());
            Ok(Arc::new(client.map_err(|error| unusable(path, &error))?))
        };
        let registrars = verifier(Expected::Registrar)?;
        let connector = TlsConnector::from(client(registrars.clone())?);
        let to_anybody = client(verifier(Expected::Anybody)?)?;
        // What was believed of one pool's element says nothing about another's at the same address.
        let mut anew = ClientConfig::clone(&to_anybody);
        anew.resumption = Resumption::disabled();
        let to_elements = TlsConnector::from(Arc::new(anew));
        let without =
            Self { connector, to_anybody, to_elements, verifier: registrars, acceptor: None };
        let Some((path, chain, key)) = own else { return Ok(without) };
        let server = server_config(&provider, roots.clone(), settings.anonymous)
            .and_then(|server| server.with_single_cert(chain, key))
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { acceptor: Some(TlsAcceptor::from(Arc::new(server))), ..without })
    }
}

/// Has files read anew when they have changed, as long as anybody uses what is made of them.
fn keep_fresh<T: Send + Sync + 'static>(
    every: Duration,
    files: Vec<PathBuf>,
    shared: Weak<T>,
    reload: fn(Arc<T>) -> Result<(), TlsError>,
) {
    let changed_at = move || -> Vec<Option<SystemTime>> {
        let written = |path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        files.iter().map(written).collect()
    };
    let mut seen = changed_at();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let Some(shared) = shared.upgrade() else { return };
            let now = changed_at();
            if now == seen {
                continue;
            }
            match reload(shared) {
                Ok(()) => {
                    info!("certificates were read anew");
                    seen = now;
                }
                // They may be half written: the next look tells.
                Err(error) => warn!(%error, "certificates have changed, and are not used"),
            }
        }
    });
}

/// The scope that is given, or that of the own certificate.
fn scope_of(settings: &Settings) -> Result<ScopeName, TlsError> {
    if let Some(scope) = &settings.scope {
        return Ok(scope.clone());
    }
    let path = settings.own.as_ref().map_or(&settings.ca, |(certificate, _)| certificate);
    let first = certificates(path)?.first().and_then(|der| subject(der));
    let scope = first
        .iter()
        .flat_map(|subject| &subject.names)
        .find_map(|name| name.text.strip_prefix("rserpool://")?.split('/').next()?.parse().ok());
    scope.ok_or_else(|| TlsError::NoScope { path: path.clone() })
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    anonymous: bool,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, rustls::Error> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let clients = if anonymous { clients.allow_unauthenticated() } else { clients };
    let clients = clients.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "certificates";
    let file = |source| TlsError::File { path: path.clone(), wanted, source };
    let read: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(file)?;
    if read.is_empty() { Err(file(pem::Error::NoItemsFound)) } else { Ok(read) }
}

fn unusable(path: &Path, error: &rustls::Error) -> TlsError {
    TlsError::Unusable { path: path.into(), reason: error.to_string() }
}

/// A host name as it stands in certificates (RFC 3490 §4).
fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let wrong = || TlsError::Name(name.into());
    let ascii = idna::domain_to_ascii_strict(name).map_err(|_| wrong())?;
    ServerName::try_from(ascii).map_err(|_| wrong())
}

/// Believes registrars, or whoever is of the authority.
#[derive(Debug)]
struct Verifier {
    expected: Expected,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    /// What says that its holder is a registrar of the scope.
    uri: String,
    /// Host names that are registrars'.
    names: Vec<ServerName<'static>>,
}

impl Verifier {
    /// Whether a certificate is one of a registrar, dialled there if it was.
    fn is_registrar(
        &self,
        der: &CertificateDer<'_>,
        certificate: &ParsedCertificate<'_>,
        dialled: Option<&ServerName<'_>>,
    ) -> bool {
        let names = subject(der).map(|subject| subject.names).unwrap_or_default();
        let mut uris = names.iter().filter(|name| name.text.starts_with("rserpool://")).peekable();
        if uris.peek().is_some() {
            return uris.any(|uri| *uri.text == *self.uri);
        }
        dialled.is_some_and(|address| verify_server_name(certificate, address).is_ok())
            || self.names.iter().any(|name| verify_server_name(certificate, name).is_ok())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let meant = self.expected == Expected::Anybody
            || self.is_registrar(end_entity, &certificate, Some(server_name));
        match meant {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
