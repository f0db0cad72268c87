//! The driver and its TCP transport, with machines that only record and repeat.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::driver::{self, Driver, Echo, Hosted, Limits};
use rserpool::metrics::Metrics;
use rserpool::proto::id::AssociationId;
use rserpool::proto::machine::{
    AttemptId, Channel, CloseReason, Input, Locator, Machine, Output, TransportKind,
};
use rserpool::proto::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// A whole message of `length` bytes.
fn message(length: u16) -> Vec<u8> {
    let mut message = vec![0; usize::from(length)];
    message[..4].copy_from_slice(&[5, 0, (length >> 8) as u8, length as u8]);
    message
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

struct Server {
    address: SocketAddr,
    commands: mpsc::Sender<()>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

fn echo(channel: Channel, limits: Limits) -> Server {
    let socket = driver::listen(any()).unwrap();
    let address = socket.local_addr().unwrap();
    let (commands, inbox) = mpsc::channel(1);
    let metrics = Arc::<Metrics>::default();
    let mut driver = Driver::new(Echo::default(), inbox, limits, metrics.clone());
    driver.add_listener(channel, socket);
    Server { address, commands, metrics, task: tokio::spawn(driver.run()) }
}

async fn exchange(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).await.unwrap();
    let mut answer = vec![0; message.len().next_multiple_of(4)];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[..message.len()], *message);
}

/// Reads to the end, which an abort is as well; returns how much came.
async fn read_to_end(stream: &mut TcpStream) -> usize {
    let (mut all, mut buffer) = (0, vec![0; 65536]);
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => return all,
            Ok(count) => all += count,
        }
    }
}

#[tokio::test]
async fn messages_are_found_in_whatever_pieces_they_come() {
    let server = echo(Channel::Asap, Limits::default());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let message = message(12);
    for cut in 1..12 {
        stream.write_all(&message[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        exchange_rest(&mut stream, &message, cut).await;
    }
    let many = message.repeat(10_000);
    let (mut reader, mut writer) = stream.split();
    let mut answers = vec![0; many.len()];
    let (sent, received) =
        tokio::join!(writer.write_all(&many), timeout(PATIENCE, reader.read_exact(&mut answers)));
    sent.unwrap();
    received.unwrap().unwrap();
    assert_eq!(answers, many);
}

async fn exchange_rest(stream: &mut TcpStream, message: &[u8], cut: usize) {
    stream.write_all(&message[cut..]).await.unwrap();
    let mut answer = vec![0; message.len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, message);
}

#[tokio::test]
async fn bytes_that_are_no_message_close_their_connection_and_no_other() {
    let server = echo(Channel::Asap, Limits::default());
    let mut good = TcpStream::connect(server.address).await.unwrap();
    let mut bad = TcpStream::connect(server.address).await.unwrap();
    exchange(&mut good, &message(8)).await;
    bad.write_all(&[0xff; 2]).await.unwrap();
    bad.write_all(&[0, 3, 7, 7]).await.unwrap();
    assert_eq!(read_to_end(&mut bad).await, 0);
    exchange(&mut good, &message(8)).await;
    assert_eq!(server.metrics.associations_malformed_total.get(), 1);
}

#[tokio::test]
async fn one_association_too_many_is_closed_at_once() {
    let limits = Limits { associations: 1, ..Limits::default() };
    let server = echo(Channel::Asap, limits);
    let mut first = TcpStream::connect(server.address).await.unwrap();
    exchange(&mut first, &message(8)).await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(read_to_end(&mut second).await, 0);
    exchange(&mut first, &message(8)).await;
    assert_eq!(server.metrics.associations_turned_away_total.get(), 1);
}

#[tokio::test]
async fn an_address_has_so_many_associations_and_leaves_room_for_others() {
    let limits = Limits { associations_per_address: 2, ..Limits::default() };
    let server = echo(Channel::Asap, limits);
    let mut ours = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        exchange(&mut stream, &message(8)).await;
        ours.push(stream);
    }
    let mut third = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(read_to_end(&mut third).await, 0);
    assert_eq!(server.metrics.associations_turned_away_total.get(), 1);
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = elsewhere.connect(server.address).await.unwrap();
    exchange(&mut other, &message(8)).await;
    // One that ends makes room.
    let mut first = ours.remove(0);
    first.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut first).await, 0);
    exchange(&mut TcpStream::connect(server.address).await.unwrap(), &message(8)).await;
}

#[tokio::test]
async fn clients_leave_some_associations_for_registrars() {
    let (commands, inbox) = mpsc::channel::<()>(1);
    let limits = Limits { associations: 16, ..Limits::default() };
    let metrics = Arc::<Metrics>::default();
    let mut driver = Driver::new(Echo::default(), inbox, limits, metrics.clone());
    let at = [Channel::Asap, Channel::Enrp].map(|channel| {
        let socket = driver::listen(any()).unwrap();
        let address = socket.local_addr().unwrap();
        driver.add_listener(channel, socket);
        address
    });
    let task = tokio::spawn(driver.run());
    let mut clients = Vec::new();
    for _ in 0..15 {
        let mut client = TcpStream::connect(at[0]).await.unwrap();
        exchange(&mut client, &message(8)).await;
        clients.push(client);
    }
    let mut client = TcpStream::connect(at[0]).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, 0);
    exchange(&mut TcpStream::connect(at[1]).await.unwrap(), &message(8)).await;
    drop(commands);
    timeout(PATIENCE, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = Limits { output: 100_000, ..Limits::default() };
    let server = echo(Channel::Enrp, limits);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let flood = message(60_000);
    let flooding = async { while stream.write_all(&flood).await.is_ok() {} };
    timeout(PATIENCE, flooding).await.unwrap();
    assert_eq!(server.metrics.associations_stuck_total.get(), 1);
    exchange(&mut TcpStream::connect(server.address).await.unwrap(), &message(8)).await;
}

#[tokio::test]
async fn a_client_that_asks_faster_than_it_reads_is_slowed_down_and_gets_everything() {
    let limits = Limits { output: 100_000, ..Limits::default() };
    let server = echo(Channel::Asap, limits);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let flood = message(1000).repeat(1000);
    let mut sent = 0;
    // Until everything between here and there is full.
    while let Ok(count) =
        timeout(Duration::from_millis(100), writer.write(&flood[sent % 1000..])).await
    {
        sent += count.unwrap();
    }
    assert!(sent > 100_000, "{sent}");
    let missing = message(1000)[sent % 1000..].to_vec();
    let missing = if missing.len() == 1000 { &[][..] } else { &missing[..] };
    let mut answers = vec![0; sent + missing.len()];
    let (written, read) =
        tokio::join!(writer.write_all(missing), timeout(PATIENCE, reader.read_exact(&mut answers)));
    written.unwrap();
    read.unwrap().unwrap();
    assert!(answers.chunks(1000).all(|answer| answer == message(1000)));
    assert_eq!(server.metrics.associations_stuck_total.get(), 0);
}

#[tokio::test]
async fn a_driver_that_is_told_to_stop_closes_its_connections_and_ends() {
    let server = echo(Channel::Asap, Limits::default());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    exchange(&mut stream, &message(8)).await;
    server.commands.send(()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, 0);
    drop(stream);
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let socket = driver::listen(any()).unwrap();
    let address = socket.local_addr().unwrap();
    let error = driver::listen(address).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

/// Puts out what it is told to, and tells what it is given.
struct Puppet {
    outputs: VecDeque<Output<()>>,
    inputs: mpsc::UnboundedSender<Heard>,
    timeout: Option<Instant>,
}

#[derive(Debug, PartialEq)]
enum Heard {
    Connected(AssociationId, Option<AttemptId>, Locator),
    ConnectFailed(AttemptId, CloseReason),
    Closed(AssociationId, CloseReason),
    Received(AssociationId, Vec<u8>),
    Timeout,
}

enum Command {
    Output(Output<()>),
    Wake(Instant),
    Stop,
}

impl Machine for Puppet {
    type Event = ();

    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        let heard = match input {
            Input::Connected { assoc, attempt, remote, .. } => {
                Heard::Connected(assoc, attempt, remote)
            }
            Input::ConnectFailed { attempt, reason } => Heard::ConnectFailed(attempt, reason),
            Input::Closed { assoc, reason } => Heard::Closed(assoc, reason),
            Input::Received { assoc, bytes, .. } => Heard::Received(assoc, bytes.to_vec()),
            Input::Timeout => {
                self.timeout = None;
                Heard::Timeout
            }
            _ => return,
        };
        let _ = self.inputs.send(heard);
    }

    fn poll_output(&mut self) -> Option<Output<()>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }
}

impl Hosted for Puppet {
    type Machine = Self;
    type Command = Command;

    fn machine(&mut self) -> &mut Self {
        self
    }

    fn on_command(&mut self, _: Instant, command: Command) -> ControlFlow<()> {
        match command {
            Command::Output(output) => self.outputs.push_back(output),
            Command::Wake(at) => self.timeout = Some(at),
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn on_event(&mut self, _: Instant, (): ()) {}
}

struct Strings {
    commands: mpsc::Sender<Command>,
    inputs: mpsc::UnboundedReceiver<Heard>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Strings {
    fn pull() -> Self {
        let (commands, inbox) = mpsc::channel(16);
        let (heard, inputs) = mpsc::unbounded_channel();
        let puppet = Puppet { outputs: VecDeque::new(), inputs: heard, timeout: None };
        let socket = driver::listen(any()).unwrap();
        let address = socket.local_addr().unwrap();
        let mut driver = Driver::new(puppet, inbox, Limits::default(), Arc::default());
        driver.add_listener(Channel::Asap, socket);
        Self { commands, inputs, address, task: tokio::spawn(driver.run()) }
    }

    async fn order(&self, command: Command) {
        assert!(self.commands.send(command).await.is_ok());
    }

    async fn put_out(&self, output: Output<()>) {
        self.order(Command::Output(output)).await;
    }

    async fn heard(&mut self) -> Heard {
        timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap()
    }
}

fn connect(attempt: u64, to: Locator) -> Output<()> {
    Output::Connect { attempt: AttemptId(attempt), channel: Channel::Asap, to }
}

#[tokio::test]
async fn two_drivers_connect_talk_and_part() {
    let (mut here, mut there) = (Strings::pull(), Strings::pull());
    let to = Locator::tcp(there.address);
    here.put_out(connect(7, to.clone())).await;
    let Heard::Connected(assoc, Some(AttemptId(7)), remote) = here.heard().await else { panic!() };
    assert_eq!(remote, to);
    let Heard::Connected(theirs, None, _) = there.heard().await else { panic!() };

    // Sent at once, though the association is given up right behind it.
    here.put_out(Output::Transmit { assoc, ppid: 11, bytes: message(12) }).await;
    here.put_out(Output::Disconnect { assoc }).await;
    assert_eq!(there.heard().await, Heard::Received(theirs, message(12)));
    assert_eq!(there.heard().await, Heard::Closed(theirs, CloseReason::Finished));

    here.put_out(connect(8, to)).await;
    let Heard::Connected(second, Some(AttemptId(8)), _) = here.heard().await else { panic!() };
    assert_ne!(second, assoc, "names are not used again, and nothing else was heard");
}

#[tokio::test]
async fn failed_attempts_are_told_apart() {
    let mut here = Strings::pull();
    // Bound, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(any()).unwrap();
    here.put_out(connect(1, Locator::tcp(socket.local_addr().unwrap()))).await;
    assert_eq!(here.heard().await, Heard::ConnectFailed(AttemptId(1), CloseReason::Refused));
    let sctp = Locator { transport: TransportKind::Sctp, ..Locator::tcp(here.address) };
    here.put_out(connect(2, sctp)).await;
    assert_eq!(here.heard().await, Heard::ConnectFailed(AttemptId(2), CloseReason::Refused));
}

#[tokio::test]
async fn an_abandoned_attempt_is_not_heard_of_again() {
    let mut here = Strings::pull();
    here.put_out(connect(1, Locator::tcp(here.address))).await;
    here.put_out(Output::Abandon { attempt: AttemptId(1) }).await;
    here.put_out(connect(2, Locator::tcp(here.address))).await;
    loop {
        match here.heard().await {
            Heard::Connected(_, Some(AttemptId(2)), _) => break,
            Heard::Connected(_, None, _) | Heard::Closed(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn timeouts_come_when_they_are_due_and_not_before() {
    let mut here = Strings::pull();
    let due = driver::now() + Duration::from_millis(20);
    // A later alarm that is moved ahead.
    here.order(Command::Wake(due + Duration::from_secs(60))).await;
    here.order(Command::Wake(due)).await;
    assert_eq!(here.heard().await, Heard::Timeout);
    assert!(driver::now() >= due);
    here.order(Command::Wake(Instant::ZERO)).await;
    assert_eq!(here.heard().await, Heard::Timeout);
}

#[tokio::test]
async fn what_is_queued_when_a_driver_stops_is_still_sent() {
    let mut here = Strings::pull();
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    let Heard::Connected(assoc, ..) = here.heard().await else { panic!() };
    for _ in 0..10 {
        here.put_out(Output::Transmit { assoc, ppid: 11, bytes: message(60_000) }).await;
    }
    here.order(Command::Stop).await;
    assert_eq!(read_to_end(&mut stream).await, 600_000);
    drop(stream);
    timeout(PATIENCE, here.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_driver_whose_commanders_are_gone_ends() {
    let here = Strings::pull();
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    drop(here.commands);
    timeout(PATIENCE, here.task).await.unwrap().unwrap();
    assert_eq!(read_to_end(&mut stream).await, 0);
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let server = echo(Channel::Asap, Limits::default());
    let clients: Vec<_> = (0..300)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(server.address).await.unwrap();
                exchange(&mut stream, &message(8)).await;
                exchange(&mut stream, &message(60_000)).await;
                drop(stream);
                exchange(&mut TcpStream::connect(server.address).await.unwrap(), &message(8)).await;
            })
        })
        .collect();
    for client in clients {
        timeout(PATIENCE, client).await.unwrap().unwrap();
    }
    let gone = async {
        while server.metrics.associations.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(server.metrics.associations_accepted_total.get(), 600);
    assert_eq!(server.metrics.messages_received_total.get(), 900);
    assert_eq!(server.metrics.messages_sent_total.get(), 900);
}
