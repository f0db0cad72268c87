//! Shows all that a registrar keeps of its elements: `rserpool dump`.

use crate::failure::Failure;
use crate::output::{self, OutputFlags};
use crate::signals::Stop;
use crate::tls::TlsFlags;
use crate::view::ElementView;
use rserpool::proto::id::{PoolHandle, ServerId};
use rserpool::proto::machine::{Locator, TransportKind};
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::table::{self, Options};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this pool
    pool: Option<PoolHandle>,
    /// The registrar, at its --enrp address
    ///
    /// One on this machine, or of a secured scope, is asked as a reader. Others show their handlespace to registrars only:
    /// they are asked as one that is gone again when it has read.
    #[arg(long, value_name = "ADDR", default_value = "tcp://127.0.0.1:9901")]
    peer: Locator,
    /// Only elements whose home it is
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Besides what `rserpool list` shows there are the way by which registrars reach an element, its
registration life, and the stamp that tells an old state from a new one.

Examples:
  rserpool dump
  rserpool dump --peer tcp://10.0.0.2:9901 --own
  diff <(rserpool dump --peer 127.0.0.1:9901) <(rserpool dump --peer 127.0.0.1:9911)
  rserpool dump web --json | jq '.pools[].elements[].stamp'";

#[derive(Debug, Serialize)]
struct View {
    /// Who says so, in hexadecimal.
    server: String,
    pools: Vec<Pool>,
}

#[derive(Debug, Serialize)]
struct Pool {
    pool: String,
    elements: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    element: ElementView,
    /// In seconds; -1 is for ever.
    life: i32,
    /// Where registrars reach it over SCTP, or where its TCP connection comes from.
    asap: Option<String>,
    /// Sequence and move.
    stamp: Option<(u64, u32)>,
}

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let address = self.peer.primary();
        let tls = self.tls.open()?;
        let reader = match address.ip().is_loopback() || tls.is_some() {
            true => ServerId::NONE,
            false => ServerId(drawn()?),
        };
        let options =
            Options { own_only: self.own, extensions: true, reader, tls, ..Options::default() };
        let table = tokio::select! {
            table = table::read_with(&self.peer, options) => table.map_err(|error| {
                Failure::failed(error).next("say by --peer where a registrar serves others")
            })?,
            () = stop.requested() => return Err(Failure::interrupted()),
        };
        let wanted = |handle: &PoolHandle| self.pool.as_ref().is_none_or(|only| only == handle);
        let pools = table.pools.iter().filter(|pool| wanted(&pool.handle)).map(|pool| Pool {
            pool: pool.handle.to_string(),
            elements: pool.elements.iter().map(Entry::from).collect(),
        });
        let view = View { server: table.server.to_string(), pools: pools.collect() };
        if let (Some(handle), true) = (&self.pool, view.pools.is_empty()) {
            return Err(Failure::unknown_pool(handle));
        }
        if self.output.json {
            return output::print_json(&view);
        }
        output::print(text(&view))
    }
}

/// One line for each element, in the order of pools and identifiers, without what differs from one
/// registrar to the next that know the same.
fn text(view: &View) -> String {
    let mut text = String::new();
    for pool in &view.pools {
        // Writing to a string does not fail.
        let _ = writeln!(text, "pool {}", pool.pool);
        for Entry { element, life, asap, stamp } in &pool.elements {
            let _ =
                write!(text, "  {} {} policy {}", element.id, element.address(), element.policy);
            let _ = write!(text, " life {life}");
            if let Some(home) = &element.home {
                let _ = write!(text, " home {home}");
            }
            if let Some(asap) = asap {
                let _ = write!(text, " asap {asap}");
            }
            if let Some((seq, moves)) = stamp {
                let _ = write!(text, " stamp {seq}.{moves}");
            }
            text.push('\n');
        }
    }
    text
}

impl From<&PoolElement> for Entry {
    fn from(element: &PoolElement) -> Self {
        let over_sctp = |sctp: &rserpool::proto::wire::transport::SctpTransport| {
            let (transport, addresses) = (TransportKind::Sctp, sctp.addresses.clone());
            Locator { transport, addresses, port: sctp.port }.to_string()
        };
        let over_tcp = element.extensions.asap_over_tcp.map(|at| Locator::tcp(at).to_string());
        Self {
            element: ElementView::from(element),
            life: element.life,
            asap: over_tcp.or_else(|| element.asap_transport.as_ref().map(over_sctp)),
            stamp: element.extensions.stamp.map(|stamp| (stamp.seq, stamp.moves)),
        }
    }
}

/// An identifier for as long as it takes, not zero.
fn drawn() -> Result<u32, Failure> {
    let drawn = getrandom::u32().map_err(|error| Failure::failed(error.to_string()))?;
    Ok(drawn.max(1))
}
