//! Messages that are wrong: first some whose errors the RFCs name, then anything.

use crate::client::{ASAP, Addressed, Client, addresses, question, registration};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rserpool_proto::id::PoolHandle;
use rserpool_proto::wire::asap::{Body, Message};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Arguments of `bad`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the registrar serves, such as 10.0.0.1:3863.
    #[arg(value_parser = addresses)]
    registrar: Addressed,
    /// A pool that exists.
    pool: PoolHandle,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What the random messages follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pause between messages, in microseconds.
    #[arg(long, default_value_t = 500)]
    pause: u64,
}

/// Sends, and prints `case NAME wanted=CODE found=CODES` and what was sent and answered in all.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    for case in cases(&arguments.pool)? {
        let found = answer(&arguments, &case).await?;
        println!("case {} wanted={} found={found}", case.name, case.wanted);
    }
    random(&arguments).await
}

/// A message and the cause that answers it, in hexadecimal; `none` if nothing is to come.
struct Case {
    name: &'static str,
    wanted: &'static str,
    message: Vec<u8>,
}

/// RFC 5354 §3.12 names the causes; RFC 5352 and RFC 5354 §3 say when they are sent.
fn cases(pool: &PoolHandle) -> io::Result<Vec<Case>> {
    let good = question(pool, None)?;
    let with = |parameter: &[u8]| {
        let mut message = good.clone();
        message.extend(parameter);
        set_length(&mut message);
        message
    };
    let case = |name, wanted, message| Case { name, wanted, message };
    let mut unknown_message = good.clone();
    set(&mut unknown_message, 0, 0x7f);
    let mut empty_handle = good.clone();
    empty_handle.truncate(8);
    set(&mut empty_handle, 7, 4);
    set_length(&mut empty_handle);
    let mut beyond = good.clone();
    set(&mut beyond, 7, 0xff);
    let mut short = good.clone();
    short.truncate(6);
    Ok(vec![
        // A pool that is not there is answered so (RFC 5352 §2.2.6).
        case("no-such-pool", "0x9", question(&handle("no such pool")?, None)?),
        // The top bits of a type say what to do with it (RFC 5354 §3).
        case("unknown-stop-report", "0x1", with(&[0x40, 0x77, 0, 4])),
        case("unknown-stop", "none", with(&[0x00, 0x77, 0, 4])),
        case("unknown-skip-report", "0x1", with(&[0xc0, 0x77, 0, 4])),
        case("unknown-skip", "answer", with(&[0x80, 0x77, 0, 4])),
        case("unknown-message", "0x2", unknown_message),
        // A length that cannot be (RFC 5354 §2): cause 3 holds the parameter that is wrong, and if
        // it is not within one there is no cause but "unspecified".
        case("empty-handle", "0x3", empty_handle),
        case("length-beyond-end", "0x0", beyond),
        case("truncated", "0x0", short),
    ])
}

fn handle(text: &str) -> io::Result<PoolHandle> {
    text.parse().map_err(|_| io::Error::other("no pool handle"))
}

fn set(message: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = message.get_mut(at) {
        *byte = value;
    }
}

fn set_length(message: &mut [u8]) {
    let [high, low] = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    set(message, 2, high);
    set(message, 3, low);
}

/// What comes for one message within a moment: causes, `answer`, `none`, or how the association ended.
async fn answer(arguments: &Arguments, case: &Case) -> io::Result<String> {
    let client = Client::connect(&arguments.registrar.0).await?;
    client.send(ASAP, &case.message).await?;
    let mut found = Vec::new();
    let end = Instant::now() + Duration::from_millis(200);
    loop {
        match timeout_at(end, client.recv()).await {
            Err(_over) => break,
            Ok(Err(error)) => return Ok(format!("closed:{}", error.kind())),
            Ok(Ok(message)) => found.extend(said(&message.data)),
        }
    }
    client.close().await;
    // An answer beside a report is what "skip and report" means.
    found.sort();
    found.dedup();
    if found.len() > 1 {
        found.retain(|word| word != "answer");
    }
    Ok(if found.is_empty() { "none".into() } else { found.join("+") })
}

/// The causes a message holds; `answer` if it holds none.
fn said(bytes: &[u8]) -> Vec<String> {
    let errors = match Message::decode(bytes).map(|decoded| decoded.message.body) {
        Ok(Body::Error { errors }) => errors,
        Ok(Body::HandleResolutionResponse(response)) => response.errors,
        Ok(Body::RegistrationResponse { errors, .. }) => errors,
        Ok(other) => return vec![other.name().into()],
        Err(error) => return vec![format!("garbage:{error}")],
    };
    if errors.is_empty() {
        return vec!["answer".into()];
    }
    errors.iter().map(|cause| format!("{:#x}", cause.code())).collect()
}

/// Random damage for the time given.
async fn random(arguments: &Arguments) -> io::Result<()> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&arguments.seed.to_le_bytes());
    let mut dice = ChaCha8Rng::from_seed(seed);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut tally = BTreeMap::<String, u64>::new();
    let mut client = Client::connect(&arguments.registrar.0).await?;
    let templates = [
        question(&arguments.pool, Some(3))?,
        registration(&handle("bad pool")?, client.element(1)?)?,
        registration(&handle("bad pool")?, client.element(2)?)?,
    ];
    let mut sent = 0;
    while Instant::now() < end {
        let (ppid, message) = damaged(&mut dice, &templates);
        sent += 1;
        let delivered = timeout(Duration::from_secs(2), client.send(ppid, &message)).await;
        // What has come meanwhile, without waiting for more than the pause.
        let pause = Instant::now() + Duration::from_micros(arguments.pause);
        let mut ended = !matches!(delivered, Ok(Ok(())));
        while let (false, Ok(arrived)) = (ended, timeout_at(pause, client.recv()).await) {
            match arrived {
                Ok(message) => {
                    for word in said(&message.data) {
                        *tally.entry(word).or_default() += 1;
                    }
                }
                Err(_gone) => ended = true,
            }
        }
        if ended {
            *tally.entry("closed".into()).or_default() += 1;
            client = Client::connect(&arguments.registrar.0).await?;
        }
    }
    client.close().await;
    let tally: Vec<String> = tally.iter().map(|(word, times)| format!("{word}={times}")).collect();
    println!("sent={sent} {}", tally.join(" "));
    Ok(())
}

/// A message that is wrong in some way, or random bytes.
fn damaged(dice: &mut ChaCha8Rng, templates: &[Vec<u8>]) -> (u32, Vec<u8>) {
    let ppid = match dice.next_u32() % 8 {
        0 => 0,
        1 | 2 => 12,
        3 => 33,
        4 => dice.next_u32(),
        _ => ASAP,
    };
    let mut message = templates[below(dice, templates.len())].clone();
    match dice.next_u32() % 8 {
        // Cut short.
        0 => message.truncate(1 + below(dice, message.len() - 1)),
        // Longer than it says, up to what a message can be and beyond.
        1 => message.resize(message.len() + below(dice, 66_000), 0),
        // The largest that a length can say.
        2 => {
            message.resize(65_532, 0x80);
            set_length(&mut message);
        }
        // Parameters within parameters.
        3 => message = nested(dice),
        // Another type, message or parameter.
        4 => {
            let at = below(dice, 6);
            set(&mut message, at, dice.next_u32() as u8);
        }
        // Random bytes behind a header that looks right.
        5 => {
            let length = 4 + below(dice, 600);
            message = vec![0; length];
            dice.fill_bytes(&mut message);
            set(&mut message, 0, 1 + (dice.next_u32() % 14) as u8);
            set_length(&mut message);
        }
        // Random bytes.
        6 => {
            message = vec![0; 1 + below(dice, 600)];
            dice.fill_bytes(&mut message);
        }
        _ => change(dice, &mut message),
    }
    (ppid, message)
}

/// Changes some bytes.
pub(crate) fn change(dice: &mut ChaCha8Rng, message: &mut [u8]) {
    for _ in 0..=below(dice, 4) {
        let at = below(dice, message.len());
        set(message, at, dice.next_u32() as u8);
    }
}

/// A question whose parameters hold each other, as deep as the length allows or less.
fn nested(dice: &mut ChaCha8Rng) -> Vec<u8> {
    let depth = 1 + below(dice, 16_000);
    let mut message = vec![5, 0, 0, 0];
    let kind = [[0, 0x0a], [0, 0x0c], [0, 0x04], [0xc1, 0]][below(dice, 4)];
    for level in (1..=depth).rev() {
        message.extend(kind);
        message.extend(u16::try_from(level * 4).unwrap_or(u16::MAX).to_be_bytes());
    }
    set_length(&mut message);
    message
}

fn below(dice: &mut ChaCha8Rng, bound: usize) -> usize {
    dice.next_u32() as usize % bound.max(1)
}
