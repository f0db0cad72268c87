//! Flags and keys that say with which certificates to secure connections.

use crate::config::{self, Section};
use crate::failure::Failure;
use clap::Args;
use rserpool::scope::ScopeName;
use rserpool::tls::{Front, Settings, Tls, TlsError};
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked whether certificates have changed.
const LOOK: Duration = Duration::from_secs(5);

/// With which certificates.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Secured scopes")]
pub(crate) struct TlsFlags {
    /// The own certificate, PEM: all connections are secured by TLS 1.3
    ///
    /// `rserpool pki` makes certificates. A new one in the same file is taken up within seconds.
    #[arg(long, value_name = "FILE", env = "RSERPOOL_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its key [default: as --tls-cert, ending in .key]
    #[arg(long, value_name = "FILE", env = "RSERPOOL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Certificates of whom to believe [default: ca.pem beside --tls-cert]
    #[arg(long, value_name = "FILE", env = "RSERPOOL_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// The scope in certificates [default: that of --tls-cert]
    #[arg(long, value_name = "SCOPE", env = "RSERPOOL_TLS_SCOPE")]
    tls_scope: Option<ScopeName>,
    /// A host name to believe registrars by whose certificates say no scope; repeat it for each
    #[arg(long, value_name = "HOST")]
    tls_name: Vec<String>,
}

impl TlsFlags {
    /// What to secure connections with; `None` if no flag says so.
    pub(crate) fn open(&self) -> Result<Option<Tls>, Failure> {
        self.settings().map(open).transpose()
    }

    /// What the flags say.
    pub(crate) fn settings(&self) -> Option<Settings> {
        let files = Files {
            certificate: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            ca: self.tls_ca.clone(),
        };
        let (scope, names) = (self.tls_scope.clone(), self.tls_name.clone());
        files.settings().map(|settings| Settings { scope, names, ..settings })
    }

    /// The same for another scope.
    pub(crate) fn open_for(&self, scope: &ScopeName) -> Result<Option<Tls>, Failure> {
        Self { tls_scope: Some(scope.clone()), ..self.clone() }.open()
    }
}

/// Opens what the settings say, and keeps it fresh.
pub(crate) fn open(settings: Settings) -> Result<Tls, Failure> {
    let tls = Tls::open(settings).map_err(failure)?;
    tls.reload_when_changed(LOOK);
    Ok(tls)
}

/// Opens what clients of a proxy are shown, and keeps it fresh.
pub(crate) fn front(certificate: PathBuf, key: Option<PathBuf>) -> Result<Front, Failure> {
    let key = key.unwrap_or_else(|| certificate.with_extension("key"));
    let front = Front::open(certificate, key).map_err(failure)?;
    front.reload_when_changed(LOOK);
    Ok(front)
}

fn failure(error: TlsError) -> Failure {
    let next = match error {
        TlsError::NoScope { .. } => "say it by --tls-scope",
        TlsError::Name(_) => "--tls-name takes a name such as registrar.example.org",
        _ => "`rserpool pki --help` shows how certificates are made",
    };
    Failure::usage(error.to_string()).next(next)
}

/// Where files are; what is not said lies beside the others.
#[derive(Clone, Debug, Default)]
struct Files {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Files {
    fn settings(self) -> Option<Settings> {
        let Self { certificate, key, ca } = self;
        let beside = |certificate: &PathBuf| certificate.with_file_name("ca.pem");
        let ca = ca.or_else(|| certificate.as_ref().map(beside))?;
        let own = certificate.map(|certificate| {
            let key = key.unwrap_or_else(|| certificate.with_extension("key"));
            (certificate, key)
        });
        Some(Settings { ca, own, ..Settings::default() })
    }
}

/// Reads what a file says of certificates.
pub(crate) fn read(section: &mut Section<'_>) -> Option<Settings> {
    let mut path = |key: &str| -> Option<PathBuf> {
        section.take(key, |value| Ok(config::text(value)?.into()))
    };
    let (certificate, key, ca) = (path("certificate"), path("key"), path("ca"));
    if certificate.is_none() && !section.has_taken("certificate") {
        section.problem("certificate", "a registrar of a secured scope shows one");
    }
    let settings = Files { certificate, key, ca }.settings();
    let scope = section.take("scope", config::parsed);
    let names = section.take_list("names", |value| config::text(value).map(String::from));
    settings.map(|settings| Settings { scope, names: names.unwrap_or_default(), ..settings })
}
