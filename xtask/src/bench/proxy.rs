//! `cargo xtask bench proxy`: the proxy beside HAProxy in TCP mode.
//!
//! ```text
//!   core 1: generator --> core 0: one proxy, one thread --> core 1: server
//! ```
//!
//! HAProxy runs twice, with and without splicing. All of them are up all the time and idle but
//! for the one that is measured; rounds alternate between them, and medians are compared. Beside
//! the rate stands the processor time of the proxy for each megabyte or connection: on a machine
//! with two cores the generator and the server are often what limits the rate.

use super::process::{Process, free_port, median, on_core, processor_time, until_open};
use super::{example, keep, rate, rserpool};
use crate::steps::{Error, output};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// Arguments of `cargo xtask bench proxy`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: figures for a first look.
    #[arg(long)]
    quick: bool,
}

/// What is measured: a name, the kind of load, connections at a time, and the unit that processor
/// time is given for.
const LOADS: [(&str, &str, u32, f64, &str); 3] = [
    ("large bodies, 1 connection", "bulk", 1, 1e6, "MB"),
    ("large bodies, 50 connections", "bulk", 50, 1e6, "MB"),
    ("new connections, 50 at a time", "connections", 50, 1.0, "connection"),
];

/// Least share of HAProxy's rate.
const LEAST: f64 = 0.8;

/// Runs the loads; `Ok(true)` if the proxy reaches its share in each.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("this needs two cores: one for the proxy, one for all the rest".into());
    }
    let load = example("rserpool-cli", "proxy_load")?;
    let rserpool = rserpool()?;
    let (rounds, seconds) = if arguments.quick { (2, "1") } else { (7, "2") };

    let mut processes = Vec::new();
    let mut start = |core, program: &Path, arguments: &[&str]| -> Result<u32, Error> {
        let child = on_core(core, program).args(arguments).stderr(Stdio::null()).spawn()?;
        let id = child.id();
        processes.push(Process::of(child));
        Ok(id)
    };
    let server = free_port()?;
    start(1, &load, &["server", &server.to_string()])?;
    until_open(server)?;

    let (asap, enrp) = (free_port()?, free_port()?);
    let registrar = format!("tcp://{asap}");
    let table = format!("tcp://{enrp}");
    start(1, &rserpool, &["registrar", "--asap", &registrar, "--enrp", &table])?;
    until_open(asap)?;
    let tcp = server.to_string();
    start(1, &rserpool, &["element", "bench", "--tcp", &tcp, "--registrar", &registrar])?;
    let ours = free_port()?;
    let listen = ours.to_string();
    let id =
        start(0, &rserpool, &["proxy", "bench", "--listen", &listen, "--registrar", &registrar])?;
    until_open(ours)?;
    let mut proxies = vec![Proxy { name: "rserpool", address: ours, id }];

    for (name, option) in [("haproxy", ""), ("haproxy with splice", "option splice-auto")] {
        let address = free_port()?;
        let file = std::env::temp_dir().join(format!("haproxy-{}.cfg", address.port()));
        fs::write(&file, haproxy(address, server, option))?;
        let started = start(0, Path::new("haproxy"), &["-f", &file.to_string_lossy()]);
        let opened = until_open(address);
        fs::remove_file(&file)?;
        let missing = "haproxy does not start; on Debian: apt-get install -y haproxy";
        proxies.push(Proxy { name, address, id: started.map_err(|_| missing)? });
        opened.map_err(|_| missing)?;
    }

    let mut passed = true;
    let mut rows = Vec::new();
    for (name, kind, connections, unit, unit_name) in LOADS {
        let mut samples = vec![Vec::new(); proxies.len()];
        for _ in 0..rounds {
            for (proxy, samples) in proxies.iter().zip(&mut samples) {
                samples.push(proxy.measure(&load, kind, connections, seconds)?);
            }
        }
        println!("\n{name}");
        let mut rates = Vec::new();
        for (proxy, samples) in proxies.iter().zip(&samples) {
            let per_second = median(samples.iter().map(|sample| sample.per_second));
            let work = median(samples.iter().map(|sample| sample.work)) * unit * 1e6;
            let shown = match kind {
                "bulk" => format!("{:.0} MB/s", per_second / 1e6),
                _ => format!("{}/s", rate(per_second)),
            };
            println!(
                "  {:<20} {shown:>12} {work:>8.1} us of processor per {unit_name}",
                proxy.name
            );
            rows.push(json!({
                "load": name, "proxy": proxy.name, "per_second": per_second,
                "processor_us": work, "per": unit_name,
            }));
            rates.push(per_second);
        }
        let [ours, others @ ..] = &rates[..] else { continue };
        for (other, proxy) in others.iter().zip(proxies.iter().skip(1)) {
            let share = ours / other;
            let enough = share >= LEAST;
            passed &= enough;
            let verdict = if enough { "" } else { "  <-- too little" };
            println!("  {:.0} % of {}{verdict}", share * 100.0, proxy.name);
        }
    }
    keep("proxy", &Value::Array(rows))?;
    Ok(passed)
}

struct Proxy {
    name: &'static str,
    address: SocketAddr,
    id: u32,
}

#[derive(Clone, Copy)]
struct Sample {
    /// Bytes or connections.
    per_second: f64,
    /// Seconds of processor time for each of them.
    work: f64,
}

impl Proxy {
    fn measure(
        &self,
        load: &Path,
        kind: &str,
        connections: u32,
        seconds: &str,
    ) -> Result<Sample, Error> {
        let mut command = on_core(1, load);
        command.args([kind, &self.address.to_string(), &connections.to_string(), seconds]);
        let (before, began) = (processor_time(self.id)?, Instant::now());
        let per_second: f64 = output(command)?.trim().parse()?;
        let (after, lasted) = (processor_time(self.id)?, began.elapsed());
        let work = (after - before) / (per_second * lasted.as_secs_f64());
        Ok(Sample { per_second, work })
    }
}

fn haproxy(listen: SocketAddr, server: SocketAddr, option: &str) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 1s\n  \
         timeout client 60s\n  timeout server 60s\n  {option}\nlisten bench\n  bind {listen}\n  \
         server one {server}\n"
    )
}
