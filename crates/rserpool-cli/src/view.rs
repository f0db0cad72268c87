//! Pools and elements as they are shown: rows of a table, or JSON.

use crate::output::Table;
use crate::policy;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::proto::wire::transport::{Transport, TransportUse};
use serde::Serialize;
use std::net::SocketAddr;

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ElementView {
    /// In hexadecimal, as it is logged.
    pub(crate) id: String,
    /// `tcp`, `sctp`, `udp`, `udp-lite`, `dccp` or `opaque`.
    pub(crate) transport: &'static str,
    /// Where users reach it.
    pub(crate) addresses: Vec<String>,
    /// Whether it takes a control channel on its SCTP transport or over TCP.
    pub(crate) control: bool,
    /// How it is picked.
    pub(crate) policy: policy::View,
    /// Its home registrar, in hexadecimal; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) home: Option<String>,
}

impl From<&PoolElement> for ElementView {
    fn from(element: &PoolElement) -> Self {
        let one = |address: &SocketAddr| vec![address.to_string()];
        let mut control = element.extensions.tcp_control;
        let (transport, addresses) = match &element.user_transport {
            Transport::Tcp(address) => ("tcp", one(address)),
            Transport::Udp(address) => ("udp", one(address)),
            Transport::UdpLite(address) => ("udp-lite", one(address)),
            Transport::Dccp { address, .. } => ("dccp", one(address)),
            Transport::Sctp(sctp) => {
                control |= sctp.transport_use == TransportUse::DataPlusControl;
                let each = sctp.addresses.as_slice().iter();
                ("sctp", each.map(|ip| SocketAddr::new(*ip, sctp.port).to_string()).collect())
            }
            Transport::Opaque(bytes) => ("opaque", vec![bytes.escape_ascii().to_string()]),
        };
        Self {
            id: element.id.to_string(),
            transport,
            addresses,
            control,
            policy: policy::View::from(&element.policy),
            home: (!element.home.is_none()).then(|| element.home.to_string()),
        }
    }
}

impl ElementView {
    /// `tcp 127.0.0.1:8081`.
    pub(crate) fn address(&self) -> String {
        format!("{} {}", self.transport, self.addresses.join(","))
    }
}

/// A pool and its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PoolView {
    /// Its handle; bytes that are not printable are escaped.
    pub(crate) pool: String,
    /// How many elements it has, if that is known to differ from those listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u32>,
    /// Its elements.
    pub(crate) elements: Vec<ElementView>,
}

impl PoolView {
    /// A pool with all its elements.
    pub(crate) fn new<'e>(
        handle: &PoolHandle,
        elements: impl IntoIterator<Item = &'e PoolElement>,
    ) -> Self {
        let elements = elements.into_iter().map(ElementView::from).collect();
        Self { pool: handle.to_string(), total: None, elements }
    }
}

/// One row for each element.
pub(crate) fn table(pools: &[PoolView]) -> Table {
    let mut table = Table::new(&["POOL", "ELEMENT", "ADDRESS", "POLICY", "HOME"]);
    for pool in pools {
        for element in &pool.elements {
            table.row([
                pool.pool.clone(),
                element.id.clone(),
                element.address(),
                element.policy.to_string(),
                element.home.clone().unwrap_or_else(|| "-".into()),
            ]);
        }
    }
    table
}
