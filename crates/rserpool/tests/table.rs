//! Reading tables, from registrars that are played.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::proto::id::{PeId, PoolHandle, ServerId};
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::enrp::{Body, Message, PoolEntry};
use rserpool::proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::proto::wire::transport::Transport;
use rserpool::table::{self, Options, TableError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn element(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId(7),
        life: 30,
        user_transport: Transport::Tcp("127.0.0.1:80".parse().unwrap()),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: Default::default(),
    }
}

fn pool(handle: &str, ids: &[u32]) -> PoolEntry {
    let elements = ids.iter().map(|id| element(*id)).collect();
    PoolEntry { handle: PoolHandle::new(handle).unwrap(), elements }
}

fn piece(more: bool, entries: Vec<PoolEntry>) -> Vec<u8> {
    encode(Body::HandleTableResponse { more, rejected: false, entries })
}

fn encode(body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    Message::new(ServerId(7), ServerId::NONE, body).encode(&mut bytes).unwrap();
    bytes
}

/// Answers one request after the other, then closes. Nothing is sent before it is asked for.
async fn registrar(answers: Vec<Vec<u8>>) -> Locator {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut request = [0; 12];
            stream.read_exact(&mut request).await.unwrap();
            let request = Message::decode(&request).unwrap().message;
            assert_eq!(request.sender, ServerId::NONE);
            assert!(matches!(request.body, Body::HandleTableRequest { own_only: false, .. }));
            stream.write_all(&answer).await.unwrap();
        }
    });
    Locator::tcp(address)
}

#[tokio::test]
async fn a_table_is_read_in_pieces_and_pools_cut_between_them_are_joined() {
    let address = registrar(vec![
        piece(true, vec![pool("a", &[1]), pool("b", &[2, 3])]),
        piece(true, vec![pool("b", &[4])]),
        piece(false, vec![pool("b", &[5]), pool("c", &[6])]),
    ])
    .await;
    let table = table::read(&address).await.unwrap();
    assert_eq!(table.server, ServerId(7));
    assert_eq!(table.pools, [pool("a", &[1]), pool("b", &[2, 3, 4, 5]), pool("c", &[6])]);
}

#[tokio::test]
async fn what_is_wrong_with_a_table_is_told_apart() {
    let refused =
        encode(Body::HandleTableResponse { more: false, rejected: true, entries: Vec::new() });
    let error = table::read(&registrar(vec![refused]).await).await.unwrap_err();
    assert!(matches!(error, TableError::Rejected { .. }), "{error}");

    let half = registrar(vec![piece(true, vec![pool("a", &[1])])]).await;
    let error = table::read(&half).await.unwrap_err();
    assert!(matches!(error, TableError::Closed { .. }), "{error}");

    let other = registrar(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(1000)]).await;
    let error = table::read(&other).await.unwrap_err();
    assert!(matches!(error, TableError::Malformed { .. }), "{error}");

    let endless = registrar(vec![piece(true, vec![pool("a", &[1, 2])]); 3]).await;
    let options = Options { max_elements: 3, ..Options::default() };
    let error = table::read_with(&endless, options).await.unwrap_err();
    assert!(matches!(error, TableError::TooLong { limit: 3, .. }), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = Locator::tcp(silent.local_addr().unwrap());
    let options = Options { timeout: Duration::from_millis(20), ..Options::default() };
    let error = table::read_with(&nobody, options).await.unwrap_err();
    assert!(matches!(error, TableError::TimedOut { .. }), "{error}");

    drop(silent);
    let error = table::read(&nobody).await.unwrap_err();
    assert!(matches!(error, TableError::Connect { .. }), "{error}");
}
