//! A small certificate authority for a scope: `rserpool pki`.

use crate::failure::Failure;
use crate::output;
use clap::{Args as ClapArgs, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};
use rserpool::scope::ScopeName;
use std::fmt::Display;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// Make the certificates of a secured scope
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rserpool pki init --scope lab            # pki/ca.pem, pki/ca.key
  rserpool pki issue registrar
  rserpool pki issue element --pool 'web*'
  rserpool pki issue user --name alice
  rserpool pki renew registrar             # taken up without a restart

  rserpool registrar --tls-cert pki/registrar.pem
  rserpool element web --tcp 127.0.0.1:8081 --tls-cert pki/element.pem
  rserpool resolve web --tls-cert pki/alice.pem

Who has ca.key can make any certificate: keep it where no server is.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin an authority of a scope
    #[command(after_help = EXAMPLES)]
    Init {
        /// The scope, as it stands in certificates
        #[arg(long)]
        scope: ScopeName,
        /// Days that it is valid
        #[arg(long, default_value_t = 3650)]
        days: u32,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a certificate and its key
    #[command(after_help = EXAMPLES)]
    Issue {
        /// What its holder is
        #[arg(value_enum)]
        role: Role,
        /// Into which pools an element may register: a name, in which * stands for anything; repeat
        /// it for more
        #[arg(long, value_name = "PATTERN", required_if_eq("role", "element"))]
        pool: Vec<String>,
        /// What the files are called [default: as the role]
        #[arg(long)]
        name: Option<String>,
        /// A host name or address that the certificate is for as well; repeat it for more
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// Days that it is valid
        #[arg(long, default_value_t = DAYS)]
        days: u32,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a certificate anew, with another key and the same names
    #[command(after_help = EXAMPLES)]
    Renew {
        /// What the files are called
        name: String,
        /// Days that it is valid
        #[arg(long, default_value_t = DAYS)]
        days: u32,
        #[command(flatten)]
        folder: Folder,
    },
}

/// Days that a certificate is valid unless somebody says otherwise.
const DAYS: u32 = 90;

/// Clocks of hosts may differ by so much.
const SKEW: Duration = Duration::from_secs(3600);

#[derive(Debug, ClapArgs)]
struct Folder {
    /// Where the files are
    #[arg(long = "dir", value_name = "DIR", default_value = "pki")]
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Keeps pools together with the others
    Registrar,
    /// Registers into pools
    Element,
    /// Resolves pools
    User,
    /// Reads whole tables: list, dump, watch
    Operator,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Registrar => "registrar",
            Self::Element => "element",
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init { scope, days, folder } => init(&folder.path, &scope, days),
            Command::Issue { role, pool, name, host, days, folder } => {
                let authority = Authority::open(&folder.path)?;
                let name = name.unwrap_or_else(|| role.name().into());
                let names = authority.names(role, &pool, &host)?;
                authority.issue(&name, names, days)
            }
            Command::Renew { name, days, folder } => {
                let authority = Authority::open(&folder.path)?;
                let names = names_in(&folder.path.join(format!("{name}.pem")))?;
                authority.issue(&name, names, days)
            }
        }
    }
}

fn init(folder: &Path, scope: &ScopeName, days: u32) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let mut params = valid_for(days);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("authority of {scope}"));
    params.subject_alt_names = vec![uri(&format!("rserpool://{scope}/authority"))?];
    let key = KeyPair::generate().map_err(cannot_make)?;
    let certificate = params.self_signed(&key).map_err(cannot_make)?;
    // Another authority's certificates would be worth nothing any more.
    write_new(&folder.join("ca.key"), &key.serialize_pem())?;
    write(&folder.join("ca.pem"), &certificate.pem(), 0o644)?;
    output::talk(format!("{} and its key are the authority of {scope}", show(folder, "ca.pem")));
    Ok(())
}

/// What signs certificates.
struct Authority {
    folder: PathBuf,
    scope: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let next =
            "begin an authority by `rserpool pki init --scope SCOPE`, or say where one is by --dir";
        let (pem, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        let scope = names_in(&pem).map_err(|failure| failure.next(next))?;
        let scope = scope.iter().find_map(|name| match name {
            SanType::URI(uri) => {
                uri.as_str().strip_prefix("rserpool://")?.strip_suffix("/authority").map(Into::into)
            }
            _ => None,
        });
        let scope = scope.ok_or_else(|| {
            Failure::failed(format!("{} is not of an authority made by `pki init`", pem.display()))
        })?;
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| failed(path, &error));
        let (certificate, secret) = (read(&pem)?, read(&key)?);
        let secret = KeyPair::from_pem(&secret).map_err(|error| failed(&key, &error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, secret);
        let issuer = issuer.map_err(|error| failed(&pem, &error))?;
        Ok(Self { folder: folder.into(), scope, issuer })
    }

    /// The names of somebody new.
    fn names(
        &self,
        role: Role,
        pools: &[String],
        hosts: &[String],
    ) -> Result<Vec<SanType>, Failure> {
        let scope = &self.scope;
        let mut names = Vec::new();
        match role {
            Role::Element => {
                for pool in pools {
                    names.push(uri(&format!("rserpool://{scope}/element/{}", escaped(pool)))?);
                }
            }
            _ => names.push(uri(&format!("rserpool://{scope}/{}", role.name()))?),
        }
        for host in hosts {
            names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(text(host)?),
            });
        }
        Ok(names)
    }

    fn issue(&self, name: &str, names: Vec<SanType>, days: u32) -> Result<(), Failure> {
        if name == "ca" || name.contains('/') {
            return Err(Failure::usage(format!("a certificate cannot be called {name:?}")));
        }
        let mut params = valid_for(days);
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names;
        let key = KeyPair::generate().map_err(cannot_make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cannot_make)?;
        write(&self.folder.join(format!("{name}.key")), &key.serialize_pem(), 0o600)?;
        write(&self.folder.join(format!("{name}.pem")), &certificate.pem(), 0o644)?;
        let what = show(&self.folder, &format!("{name}.pem"));
        output::talk(format!("{what} and its key are valid for {days} days"));
        Ok(())
    }
}

/// What is the same in all certificates.
fn valid_for(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 86_400)).into();
    params
}

/// The names in a certificate.
fn names_in(path: &Path) -> Result<Vec<SanType>, Failure> {
    let pem = fs::read(path).map_err(|error| failed(path, &error))?;
    let wrong = || failed(path, &"it is not a certificate in PEM");
    let (_, pem) = parse_x509_pem(&pem).map_err(|_| wrong())?;
    let certificate = pem.parse_x509().map_err(|_| wrong())?;
    let alternatives = certificate.subject_alternative_name().map_err(|_| wrong())?;
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::URI(name) => Some(uri(name)),
            GeneralName::DNSName(name) => Some(text(name).map(SanType::DnsName)),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                address.ok().map(|address| Ok(SanType::IpAddress(address)))
            }
            _ => None,
        })
        .collect()
}

fn uri(text_of: &str) -> Result<SanType, Failure> {
    text(text_of).map(SanType::URI)
}

fn text(name: &str) -> Result<Ia5String, Failure> {
    Ia5String::try_from(name)
        .map_err(|_| Failure::usage(format!("{name:?} has characters that no certificate takes")))
}

/// A pattern of pools as it stands in a URI.
fn escaped(pattern: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte);
    pattern
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

fn show(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn failed(path: &Path, error: &dyn Display) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn cannot_make(error: rcgen::Error) -> Failure {
    Failure::failed(format!("cannot make a certificate: {error}"))
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(path, &error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(path, &error))
}

/// Writes beside and renames, so that nobody reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    // One may be left from a run that was killed.
    let _ = fs::remove_file(&beside);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&beside, path)).map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_issued_is_renewed_with_the_same_names_and_another_key() {
        let folder = std::env::temp_dir().join(format!("rserpool-pki-{}", std::process::id()));
        init(&folder, &"lab".parse().unwrap(), 10).unwrap();
        assert!(init(&folder, &"lab".parse().unwrap(), 10).is_err(), "one is there already");
        let authority = Authority::open(&folder).unwrap();
        let hosts = ["10.0.0.1".into(), "::1".into(), "a.example.org".into()];
        let names = authority.names(Role::Element, &["web/*".into()], &hosts).unwrap();
        authority.issue("web", names.clone(), 1).unwrap();
        let first = fs::read(folder.join("web.key")).unwrap();
        let renewed = names_in(&folder.join("web.pem")).unwrap();
        assert_eq!(renewed, names);
        assert_eq!(renewed[0], uri("rserpool://lab/element/web%2f*").unwrap());
        authority.issue("web", renewed, 1).unwrap();
        assert_ne!(fs::read(folder.join("web.key")).unwrap(), first);
        let mode =
            std::os::unix::fs::MetadataExt::mode(&fs::metadata(folder.join("web.key")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
