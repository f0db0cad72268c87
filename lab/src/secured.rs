//! TLS, by the library and by hand.

use rserpool::driver::Network;
use rserpool::tls::{Settings, Tls};
use rserpool_proto::wire::framer::Framer;
use rserpool_sctp::{Association, Event, SendInfo};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A certificate, in PEM: its key is beside it in `.key`, whom to believe in `ca.pem`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Certificate {
    /// The own certificate: everything is secured.
    #[arg(long)]
    tls_cert: Option<PathBuf>,
}

impl Certificate {
    /// How registrars are reached with it, which is looked at anew every second.
    pub(crate) fn network(&self) -> io::Result<Network> {
        let Some(certificate) = self.tls_cert.clone() else { return Ok(Network::default()) };
        let (ca, key) = beside(&certificate);
        let settings = Settings { ca, own: Some((certificate, key)), ..Settings::default() };
        let tls = Tls::open(settings).map_err(io::Error::other)?;
        tls.reload_when_changed(Duration::from_secs(1));
        Ok(Network { tls: Some(tls), ..Network::default() })
    }

    /// What to shake hands with, always in full.
    pub(crate) fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let none = || io::Error::other("no --tls-cert");
        let certificate = self.tls_cert.as_deref().ok_or_else(none)?;
        let (ca, key) = beside(certificate);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).map_err(wrong)?).map_err(wrong)?;
        let chain = vec![CertificateDer::from_pem_file(certificate).map_err(wrong)?];
        let key = PrivateKeyDer::from_pem_file(key).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_root_certificates(roots);
        let mut config = config.with_client_auth_cert(chain, key).map_err(wrong)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn beside(certificate: &Path) -> (PathBuf, PathBuf) {
    (certificate.with_file_name("ca.pem"), certificate.with_extension("key"))
}

fn wrong(error: impl Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// TLS over an association, as the client.
pub(crate) struct Session {
    tls: ClientConnection,
    framer: Framer,
}

impl Session {
    /// Shakes hands with who has this address.
    pub(crate) async fn new(
        association: &Association,
        ppid: u32,
        config: Arc<ClientConfig>,
        to: IpAddr,
    ) -> io::Result<Self> {
        let tls = ClientConnection::new(config, ServerName::from(to)).map_err(wrong)?;
        let mut session = Self { tls, framer: Framer::new() };
        loop {
            session.flush(association, ppid).await?;
            if !session.tls.is_handshaking() {
                return Ok(session);
            }
            session.take(association).await?;
        }
    }

    pub(crate) async fn send(
        &mut self,
        association: &Association,
        ppid: u32,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.flush(association, ppid).await
    }

    /// The next message of the protocol.
    pub(crate) async fn recv(&mut self, association: &Association) -> io::Result<Vec<u8>> {
        loop {
            if let Some(frame) = self.framer.next_frame().map_err(wrong)? {
                return Ok(frame.to_vec());
            }
            self.take(association).await?;
        }
    }

    async fn flush(&mut self, association: &Association, ppid: u32) -> io::Result<()> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records)?;
        }
        match records.is_empty() {
            true => Ok(()),
            false => association.send(&records, SendInfo::ppid(ppid)).await,
        }
    }

    async fn take(&mut self, association: &Association) -> io::Result<()> {
        let message = match association.recv().await? {
            Event::Message(message) => message,
            event if event.is_end() => return Err(wrong(format!("{event:?}"))),
            _ => return Ok(()),
        };
        let mut rest = &message.data[..];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest)?;
            let read = self.tls.process_new_packets().map_err(wrong)?.plaintext_bytes_to_read();
            let mut plain = vec![0; read];
            self.tls.reader().read_exact(&mut plain)?;
            // Answers are shorter than what there is room for.
            let _ = self.framer.push(&plain);
        }
        Ok(())
    }
}
