//! Scopes that know nothing of each other, found by configuration and by DNS.
#![expect(clippy::unwrap_used, reason = "a test")]

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::{PoolUserConfig, ResolveError};
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::Config;
use rserpool::scope::{Directory, Dns, PoolName, ScopeError};
use rserpool::{PoolElement, PoolUser, Registrar};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap()
}

async fn registrar() -> Registrar {
    let any = || vec![Locator::tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
    Registrar::start(Config { asap: any(), enrp: any(), ..Config::default() }).await.unwrap()
}

fn locator(registrar: &Registrar) -> Locator {
    Locator::tcp(registrar.asap_addrs()[0])
}

/// A name server that knows one registrar of `east.test`, over TCP.
async fn name_server(registrar: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let target = Name::from_ascii("r1.test.").unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
            let asked = Message::from_vec(&bytes[..len]).unwrap();
            let query = asked.queries[0].clone();
            let data = match (query.name().to_string().as_str(), query.query_type()) {
                ("_asap._tcp.east.test.", RecordType::SRV) => {
                    Some(RData::SRV(SRV::new(0, 1, registrar.port(), target.clone())))
                }
                ("r1.test.", RecordType::A) => Some(RData::A(A(Ipv4Addr::LOCALHOST))),
                _ => None,
            };
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.add_query(query.clone());
            match data {
                Some(data) => {
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
                None => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_user_reaches_a_pool_of_another_scope_by_dns_and_by_configuration() {
    let (east, west) = (registrar().await, registrar().await);
    let dns = Dns::Server(name_server(east.asap_addrs()[0]).await);
    let scopes = BTreeMap::from([("west".parse().unwrap(), vec![locator(&west)])]);
    let directory = Directory { scopes, dns };
    // One server is in both scopes, under a name of its own in each.
    let server = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], 8081)));
    let join = async |pool: &str, registrar: &Registrar| {
        let handle = pool.parse().unwrap();
        let config = PoolElementConfig::new(handle, server.clone(), vec![locator(registrar)]);
        let element = PoolElement::start(config).await.unwrap();
        soon(element.registered()).await.unwrap();
        element
    };
    let _members = (join("web", &east).await, join("shop", &west).await);

    let resolve = async |name: &str| {
        let name: PoolName = name.parse().unwrap();
        let registrars = soon(directory.registrars(&name.scope.unwrap())).await.unwrap();
        soon(PoolUser::new(PoolUserConfig::new(registrars)).resolve(&name.handle)).await
    };
    assert_eq!(resolve("web@East.test").await.unwrap().elements.len(), 1);
    assert_eq!(resolve("shop@west").await.unwrap().elements.len(), 1);
    for elsewhere in ["shop@east.test", "web@west"] {
        assert!(matches!(resolve(elsewhere).await, Err(ResolveError::UnknownPool { .. })));
    }
}

#[tokio::test]
async fn a_scope_that_nobody_knows_is_said() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let dns = Dns::Server(name_server(nobody).await);
    let directory = Directory { dns, ..Directory::default() };
    let error = soon(directory.registrars(&"north.test".parse().unwrap())).await.unwrap_err();
    assert!(matches!(error, ScopeError::NotInDns { .. }), "{error}");
    assert!(error.to_string().contains("_asap._tcp.north.test"), "{error}");
}
