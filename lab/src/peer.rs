//! Registrars that are none: one that never answers what it is asked for, one that refuses for ever, one
//! that forges, damages and replays the messages of others.

use crate::bad::change;
use crate::client::{Addressed, addresses};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rserpool_proto::id::ServerId;
use rserpool_proto::wire::PPID_ENRP;
use rserpool_proto::wire::enrp::{Body, Message, UpdateAction};
use rserpool_proto::wire::server_information::ServerInformation;
use rserpool_proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use rserpool_sctp::{Association, AssociationId, Config, Endpoint, Event, SendInfo};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Arguments of `peer`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where other registrars are, such as 10.0.0.1:9901.
    #[arg(required = true, value_parser = addresses)]
    registrars: Vec<Addressed>,
    /// Where it pretends to serve, such as 10.0.0.66:9901.
    #[arg(long)]
    local: SocketAddr,
    /// Its identifier.
    #[arg(long, default_value_t = 0x66)]
    id: u32,
    /// What it does with what it is asked.
    #[arg(long, value_enum)]
    that: That,
    /// What the forgeries follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum That {
    /// Says that it is there, and answers no question for tables or lists.
    Ignores,
    /// Refuses both.
    Refuses,
    /// Refuses both, and sends what it has no right to.
    Forges,
}

/// Between two presences, and two dozen forgeries.
const HEARTBEAT: Duration = Duration::from_millis(250);
const FORGERIES: usize = 24;
/// Messages of others that are kept to be sent again.
const KEPT: usize = 256;

struct Peer {
    arguments: Arguments,
    endpoint: Endpoint,
    known: BTreeSet<AssociationId>,
    /// Messages of others, as they came.
    heard: VecDeque<Vec<u8>>,
    dice: ChaCha8Rng,
    tables: u64,
    lists: u64,
    forged: u64,
}

/// Is there until SIGTERM, then prints what it was asked and has done.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&arguments.seed.to_le_bytes());
    let endpoint = Endpoint::bind(&[arguments.local], &Config::fast_failover())?;
    let mut peer = Peer {
        arguments,
        endpoint,
        known: BTreeSet::new(),
        heard: VecDeque::new(),
        dice: ChaCha8Rng::from_seed(seed),
        tables: 0,
        lists: 0,
        forged: 0,
    };
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            event = peer.endpoint.recv() => peer.on_event(event?),
            _ = ticks.tick() => peer.on_tick().await,
        }
    }
    println!("# tables={} lists={} forged={}", peer.tables, peer.lists, peer.forged);
    Ok(())
}

impl Peer {
    async fn on_tick(&mut self) {
        for to in &self.arguments.registrars {
            // There is one already, most of the time.
            let _ = self.endpoint.connect(&to.0);
        }
        for id in self.known.clone() {
            self.say(id, self.presence(false));
        }
        if self.arguments.that == That::Forges {
            for _ in 0..FORGERIES {
                self.forge().await;
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        let Some(id) = event.association() else { return };
        match event {
            Event::Up { .. } => {
                self.known.insert(id);
                self.say(id, self.presence(true));
            }
            Event::Message(message) if message.ppid == PPID_ENRP => {
                self.on_message(id, message.data)
            }
            event if event.is_end() => {
                self.known.remove(&id);
            }
            _ => {}
        }
    }

    fn on_message(&mut self, id: AssociationId, bytes: Vec<u8>) {
        let Ok(decoded) = Message::decode(&bytes) else { return };
        let refuses = self.arguments.that != That::Ignores;
        match decoded.message.body {
            Body::Presence { reply_required: true, .. } => self.say(id, self.presence(false)),
            Body::HandleTableRequest { .. } => {
                self.tables += 1;
                let (more, rejected, entries) = (false, true, Vec::new());
                if refuses {
                    self.say(id, Body::HandleTableResponse { more, rejected, entries });
                }
            }
            Body::ListRequest => {
                self.lists += 1;
                if refuses {
                    self.say(id, Body::ListResponse { rejected: true, servers: Vec::new() });
                }
            }
            _ => {}
        }
        self.heard.push_back(bytes);
        if self.heard.len() > KEPT {
            self.heard.pop_front();
        }
    }

    /// One that speaks of elements that nobody knows, so that its table is asked for.
    fn presence(&self, reply_required: bool) -> Body {
        let local = self.arguments.local;
        let server = Addresses::new(&[local.ip()]).map(|addresses| ServerInformation {
            id: ServerId(self.arguments.id),
            transport: Transport::Sctp(SctpTransport {
                port: local.port(),
                transport_use: TransportUse::DataOnly,
                addresses,
            }),
            unknown: [].into(),
        });
        let (checksum, digest, capabilities) = (Some(0x1234), None, None);
        Body::Presence { reply_required, checksum, server, digest, capabilities }
    }

    fn say(&self, to: AssociationId, body: Body) {
        if let Some(bytes) =
            encode(&Message::new(ServerId(self.arguments.id), ServerId::NONE, body))
        {
            // Whoever takes nothing is asked again with the next heartbeat.
            let _ = self.endpoint.try_send(to, &bytes, SendInfo::ppid(PPID_ENRP));
        }
    }

    /// Sends something wrong, most of it in its own name, some of it in that of another.
    async fn forge(&mut self) {
        let at = self.below(self.heard.len());
        let Some(bytes) = self.heard.get(at).cloned() else { return };
        let Ok(decoded) = Message::decode(&bytes) else { return };
        let mut message = decoded.message;
        let kind = self.below(8);
        let forged = match kind {
            // Again, as it was.
            0 | 1 => Some(bytes),
            // With some bytes changed.
            2 | 3 => {
                let mut bytes = bytes;
                change(&mut self.dice, &mut bytes);
                Some(bytes)
            }
            // The living are taken over.
            4 => {
                let target = message.sender;
                let own = ServerId(self.arguments.id);
                let body = match self.below(3) {
                    0 => Body::InitTakeover { target },
                    1 => Body::InitTakeoverAck { target },
                    _ => Body::TakeoverServer { target },
                };
                encode(&Message::new(own, ServerId::NONE, body))
            }
            // Elements of others are deleted, or have another home.
            _ => {
                if let Body::HandleUpdate { action, element, .. } = &mut message.body {
                    if kind == 5 {
                        *action = UpdateAction::Delete;
                    } else {
                        element.home = ServerId(self.arguments.id);
                    }
                    element.extensions.stamp = None;
                }
                message.sender = ServerId(self.arguments.id);
                encode(&message)
            }
        };
        let Some(forged) = forged else { return };
        self.forged += 1;
        if self.below(4) == 0 {
            let at = self.below(self.arguments.registrars.len());
            let _ = in_the_name_of_another(&self.arguments.registrars[at], &forged).await;
        } else {
            for id in &self.known {
                let _ = self.endpoint.try_send(*id, &forged, SendInfo::ppid(PPID_ENRP));
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.dice.next_u32() as usize % bound.max(1)
    }
}

/// On an association of its own, on which nobody has spoken yet.
async fn in_the_name_of_another(to: &Addressed, bytes: &[u8]) -> io::Result<()> {
    let patience = Duration::from_secs(1);
    let config = Config::fast_failover();
    let association = timeout(patience, Association::connect(&to.0, &[], &config)).await??;
    association.send(bytes, SendInfo::ppid(PPID_ENRP)).await?;
    timeout(patience, association.close()).await?
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).ok().map(|()| bytes)
}
