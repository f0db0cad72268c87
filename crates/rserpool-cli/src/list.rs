//! Shows the pools of a registrar: `rserpool list`.

use crate::failure::Failure;
use crate::output::{self, OutputFlags};
use crate::signals::Stop;
use crate::tls::TlsFlags;
use crate::view::{self, PoolView};
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::table::{Options, TableError};
use serde::Serialize;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this pool
    pool: Option<PoolHandle>,
    #[command(flatten)]
    enrp: EnrpFlag,
    #[command(flatten)]
    output: OutputFlags,
}

/// Where the handlespace of a registrar can be read.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EnrpFlag {
    /// Where the registrar serves other registrars, over TCP or SCTP; they alone are shown whole pools
    #[arg(
        long,
        value_name = "ADDR",
        env = "RSERPOOL_ENRP",
        default_value = "tcp://127.0.0.1:9901"
    )]
    enrp: Locator,
    #[command(flatten)]
    tls: TlsFlags,
}

const EXAMPLES: &str = "\
All elements are shown, in the order of their identifiers; nothing is used by looking. Whether the scope
is a secured one is said on stderr, and with --json of each pool.

Examples:
  rserpool list
  rserpool list web
  rserpool list --json | jq -r '.[] | \"\\(.pool) \\(.elements | length)\"'";

/// What is shown with `--json`.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    pool: PoolView,
    /// Whether the scope is a secured one.
    secured: bool,
}

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let pools = tokio::select! {
            pools = self.enrp.read(self.pool.as_ref()) => pools?,
            () = stop.requested() => return Err(Failure::interrupted()),
        };
        if let (Some(handle), true) = (&self.pool, pools.is_empty()) {
            return Err(Failure::unknown_pool(handle));
        }
        // What TLS was agreed on with is a registrar of a secured scope, which speaks nothing else.
        let secured = self.enrp.tls.settings().is_some();
        if self.output.json {
            let listed = |pool| Listed { pool, secured };
            return output::print_json(&pools.into_iter().map(listed).collect::<Vec<_>>());
        }
        output::print(view::table(&pools))?;
        output::talk(match secured {
            true => "a secured scope: certificates say who may do what",
            false => "an open scope: whoever reaches its registrars may do everything",
        });
        if pools.is_empty() {
            output::talk("there are no pools yet: `rserpool element --help` shows how to make one");
        }
        Ok(())
    }
}

impl EnrpFlag {
    /// All pools, or one of them, which may be none.
    pub(crate) async fn read(&self, only: Option<&PoolHandle>) -> Result<Vec<PoolView>, Failure> {
        let options = self.options()?;
        let table = rserpool::table::read_with(&self.enrp, options).await.map_err(Self::failed)?;
        let wanted = table.pools.iter().filter(|pool| only.is_none_or(|only| *only == pool.handle));
        Ok(wanted.map(|pool| PoolView::new(&pool.handle, &pool.elements)).collect())
    }

    /// How they are read.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        Ok(Options { tls: self.tls.open()?, ..Options::default() })
    }

    /// Where tables are read.
    pub(crate) fn at(&self) -> &Locator {
        &self.enrp
    }

    /// Nothing could be read there.
    pub(crate) fn failed(error: TableError) -> Failure {
        Failure::failed(error).next(
            "start a registrar with `rserpool registrar`, or say by --enrp where one serves other \
             registrars",
        )
    }
}
