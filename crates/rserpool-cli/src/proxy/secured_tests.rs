//! A proxy that ends TLS, and begins it anew.

use super::balance::{Balance, Target, Times};
use super::serve::{Security, Serve};
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::capability::Owner;
use rserpool::tls::{Front, Stream, Tls};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[path = "../../../rserpool/tests/tls/authority.rs"]
mod authority;

use authority::Authority;

const ELEMENT: &str = "rserpool://lab/element/web";
const ROUND_ROBIN: PolicyNumber = PolicyNumber(1);

fn pool() -> PoolHandle {
    "web".parse().unwrap()
}

fn front(authority: &Authority, name: &str) -> Front {
    let (certificate, key) = authority.issue(&[name]);
    Front::open(certificate, key).unwrap()
}

/// Says back what it is told; with `breaks` it goes without a word then.
async fn server(front: Option<Front>, breaks: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let front = front.clone();
            tokio::spawn(async move {
                let stream = match front {
                    Some(front) => front.accept(socket).await,
                    None => Ok(Stream::Plain(socket)),
                };
                let Ok(stream) = stream else { return };
                let (mut read, mut write) = tokio::io::split(stream);
                let mut buffer = vec![0; 65536];
                while let Ok(length @ 1..) = read.read(&mut buffer).await {
                    write.write_all(&buffer[..length]).await.unwrap();
                    write.flush().await.unwrap();
                    if breaks {
                        return;
                    }
                }
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

fn serve(security: Security, elements: &[(SocketAddr, Option<Owner>)]) -> Arc<Serve> {
    let minute = Duration::from_secs(60);
    let times = Times { renew: minute, set_aside: minute, keep_list: minute };
    let (balance, _) = Balance::new(pool(), times, [1; 32]);
    let element = |(pe, (address, owner)): (u32, &(SocketAddr, Option<Owner>))| {
        let target = Target { pe: PeId(pe), address: *address, owner: *owner };
        (target, PolicyParameter::new(ROUND_ROBIN, &[]))
    };
    balance.replace(ROUND_ROBIN, (1..).zip(elements).map(element).collect());
    // Long enough to try all of them, and no list comes.
    let wait = Duration::from_secs(2);
    Arc::new(Serve::new(pool(), Arc::new(balance), minute, wait, security))
}

/// A client of the proxy, before it speaks TLS.
async fn client(serve: &Arc<Serve>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, from) = listener.accept().await.unwrap();
    let serve = Arc::clone(serve);
    tokio::spawn(async move { serve.connection(accepted, from).await });
    client
}

/// Sends much both ways, and ends in order.
async fn converse(stream: Stream) {
    const LEN: usize = 4 << 20;
    let sent: Vec<u8> = (0..LEN / 4).flat_map(|word| (word as u32).to_le_bytes()).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let copy = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::with_capacity(LEN);
    read.read_to_end(&mut received).await.unwrap();
    assert!(received == sent);
    sending.await.unwrap();
}

async fn owner(tls: &Tls, server: SocketAddr) -> Option<Owner> {
    let socket = TcpStream::connect(server).await.unwrap();
    tls.connect_element(socket, &pool(), None).await.unwrap().identity().owner()
}

#[tokio::test]
async fn tls_ends_here_and_begins_anew_towards_an_element_that_proves_to_be_the_one_that_is_named()
{
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = authority.tls(&["rserpool://lab/user"]);
    let good = server(Some(front(&authority, ELEMENT)), false).await;
    let named = owner(&tls, good).await;
    let impostors = [
        server(Some(front(&authority, "rserpool://lab/element/other")), false).await,
        server(Some(front(&authority, "rserpool://lab/element/w*")), false).await,
        server(Some(front(&stranger, ELEMENT)), false).await,
        server(None, false).await,
    ];
    let elements: Vec<_> = impostors.into_iter().chain([good]).map(|at| (at, named)).collect();
    let both =
        || Security { clients: Some(front(&authority, ELEMENT)), elements: Some(tls.clone()) };
    for elements in [&elements[..], &elements[4..]] {
        let serve = serve(both(), elements);
        let client = client(&serve).await;
        converse(tls.connect_element(client, &pool(), None).await.unwrap()).await;
        assert_eq!(serve.totals().unserved, 0);
    }
    // One of both.
    let terminating = Security { elements: None, ..both() };
    let terminating = serve(terminating, &[(server(None, false).await, None)]);
    let stream = client(&terminating).await;
    converse(tls.connect_element(stream, &pool(), None).await.unwrap()).await;
    let originating = serve(Security { clients: None, ..both() }, &elements);
    converse(Stream::Plain(client(&originating).await)).await;
    // Nobody is left: a client is told, and not served without.
    let alone = serve(Security { clients: None, ..both() }, &elements[..4]);
    assert!(client(&alone).await.read_u8().await.is_err());
    assert_eq!(alone.totals().unserved, 1);
}

#[tokio::test]
async fn an_element_that_breaks_shows_as_a_break_and_a_client_without_tls_gets_nothing() {
    let authority = Authority::new();
    let tls = authority.tls(&["rserpool://lab/user"]);
    let breaking = server(Some(front(&authority, ELEMENT)), true).await;
    let security =
        Security { clients: Some(front(&authority, ELEMENT)), elements: Some(tls.clone()) };
    let serve = serve(security, &[(breaking, owner(&tls, breaking).await)]);
    let stream = client(&serve).await;
    let mut stream = tls.connect_element(stream, &pool(), None).await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // Not an end that could be taken for the end of the answer.
    stream.read_to_end(&mut answer).await.unwrap_err();
    let mut plain = client(&serve).await;
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(serve.totals().broken, 1);
}
