//! `cargo xtask bench secured`: what TLS costs, and what those notice who belong to a scope while others
//! try to get in.
//!
//! Registrar and load are processes of this machine, over TCP on loopback. Who attacks shares the core of who asks, and
//! gets what that leaves of it: it stands for other machines, whose work is none of a registrar's.

use super::process::{Cores, median, two_cores};
use super::{example, keep, rate};
use crate::steps::{Error, output};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Arguments of `cargo xtask bench secured`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A tenth of everything: figures for a first look.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    cores: Cores,
}

/// Least share of resolutions without TLS, one after the other.
const LEAST_SHARE: f64 = 0.7;
/// Most bytes that the heap has grown by after an attack.
const MOST_GROWTH: i64 = 1 << 20;
/// Most times that the 99th percentile grows.
const MOST_TIMES: f64 = 2.0;
/// Handshakes begun a second; 0 for as many as the kernel opens and closes connections, which then keeps both cores
/// busy by itself, so that it is shown and not judged.
const PACES: [u64; 4] = [2_000, 5_000, 10_000, 0];
/// Up to this many are judged: more than twice as many as a core can finish.
const JUDGED: u64 = 5_000;

/// Measures; `Ok(true)` if every figure reaches what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    two_cores()?;
    let (load, cores) = (example("rserpool", "secured_load")?, arguments.cores);
    let part = if arguments.quick { 10 } else { 1 };
    let number = |words: &[&str]| -> Result<f64, Error> {
        let mut command = cores.company(&load);
        command.args(words);
        Ok(output(command)?.trim().parse()?)
    };
    let attacking = |words: &[&str]| {
        let mut command = Command::new("nice");
        command.args(["-n", "19", "taskset", "--cpu-list", "1"]).arg(&load).args(words);
        command
    };
    let mut server = cores.server(&load);
    server.arg("serve");
    let mut server = Server::start(server)?;
    let line = server.line()?;
    let [folder, secured, plain] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("the registrar said: {line}").into());
    };

    let count = (50_000 / part).to_string();
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..5 {
        let by_tls = number(&["ask", secured, folder, &count])?;
        let without = number(&["ask-plainly", plain, &count])?;
        for (list, figure) in figures.iter_mut().zip([by_tls, without, by_tls / without]) {
            list.push(figure);
        }
    }
    let [by_tls, without, share] = figures.map(median);
    println!("resolutions a second, one after the other");
    println!("by TLS {}, without {}: {:.0} %", rate(by_tls), rate(without), share * 100.0);
    let handshakes = number(&["handshakes", secured, folder, &(2_000 / part).to_string()])?;
    println!("handshakes a second, both with a certificate: {}\n", rate(handshakes));
    let mut good = share >= LEAST_SHARE;

    let mut attacks = Vec::new();
    println!(
        "{:<28}{:>12}{:>10}{:>16}{:>16}{:>14}",
        "attack", "tried", "a second", "p99 before", "p99 meanwhile", "heap grows"
    );
    // Shorter than the attacks are.
    let seconds = if arguments.quick { "1" } else { "3" };
    let paces =
        PACES.map(|pace| ("handshakes left half open", "half-open", secured, 100_000, Some(pace)));
    let registrations = ("registrations by nobody", "register", plain, 1_000_000, None);
    for (what, mode, to, count, pace) in std::iter::once(registrations).chain(paces) {
        // What was left half open is given up after 5 s.
        sleep(Duration::from_secs(6));
        let before = server.heap()?;
        let quiet = number(&["latency", secured, folder, seconds])?;
        let (count, pace_text) = ((count / part).to_string(), pace.map(|pace| pace.to_string()));
        let mut words = vec![mode, to, &count];
        words.extend(pace_text.as_deref());
        let attack = attacking(&words).stdout(Stdio::piped()).spawn()?;
        let meanwhile = number(&["latency", secured, folder, seconds])?;
        let attack = attack.wait_with_output()?;
        let said = String::from_utf8(attack.stdout)?;
        let mut said = said.split_whitespace();
        let tried: u64 = said.next().unwrap_or_default().parse()?;
        let a_second = said.next().unwrap_or("-").to_owned();
        let mut grown = server.heap()? - before;
        for _ in 0..20 {
            if grown <= MOST_GROWTH {
                break;
            }
            sleep(Duration::from_millis(500));
            grown = server.heap()? - before;
        }
        println!(
            "{what:<28}{tried:>12}{a_second:>10}{:>16}{:>16}{:>14}",
            format!("{quiet:.0} us"),
            format!("{meanwhile:.0} us"),
            format!("{} KiB", grown / 1024),
        );
        let is_judged = pace.is_none_or(|pace| (1..=JUDGED).contains(&pace));
        good &= grown <= MOST_GROWTH && (!is_judged || meanwhile <= quiet * MOST_TIMES);
        attacks.push(json!({
            "attack": what, "tried": tried, "a_second": a_second, "p99_before_us": quiet, "p99_meanwhile_us": meanwhile,
            "heap_grows": grown,
        }));
    }
    let cost = json!({ "tls": by_tls, "plain": without, "share": share, "handshakes": handshakes });
    keep("secured", &json!({ "cost": cost, "attacks": attacks }))?;
    Ok(good)
}

/// The registrar; it ends with its input.
struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> Result<Self, Error> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the registrar has no input or output".into());
        };
        Ok(Self { process, input, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().into())
    }

    /// Bytes of its heap.
    fn heap(&mut self) -> Result<i64, Error> {
        self.input.write_all(b"\n")?;
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
