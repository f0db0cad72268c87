//! `cargo xtask bench size`: how much of a device the programs take, on disk and in memory.
//!
//! Binaries are measured stripped; memory is the resident set of a process that has done its work
//! once and is idle: a user that has resolved, an element that has registered, a registrar and a
//! proxy that serve them.

use super::process::Process;
use super::{built, keep, rserpool};
use crate::steps::{Error, output, root};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask bench size`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// What is asked of a program: bytes on disk and in memory.
struct Bounds {
    disk: Option<u64>,
    memory: Option<u64>,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Measures; `Ok(true)` if everything is as small as it is meant to be.
pub(crate) fn run(_: &Arguments) -> Result<bool, Error> {
    let tiny_user = tiny("tiny_user", "user")?;
    let tiny_element = tiny("tiny_element", "element")?;
    let rserpool = rserpool()?;

    let [asap, enrp, listen] = free_ports()?;
    let registrar = format!("127.0.0.1:{asap}");
    let (asap_flag, enrp_flag) = (registrar.clone(), format!("127.0.0.1:{enrp}"));
    let mut command = Command::new(&rserpool);
    command.args(["registrar", "--asap", &asap_flag, "--enrp", &enrp_flag]);
    let serving = idle(&mut command)?;
    until("the registrar", || TcpStream::connect(&registrar).ok())?;
    settle();
    let registrar_memory = resident(&serving)?;

    let mut command = Command::new(&tiny_element);
    command.args(["tiny", "127.0.0.1:9", &registrar]);
    let (element, _) = answering(&mut command, "")?;
    let mut command = Command::new(&tiny_user);
    command.args(["tiny", &registrar]);
    let (user, answer) = answering(&mut command, "\n")?;
    if answer != "127.0.0.1:9" {
        return Err(format!("tiny_user answered {answer}, which is not the element").into());
    }

    let mut command = Command::new(&rserpool);
    command.args(["element", "sized", "--tcp", &registrar, "--registrar", &registrar]);
    let adopter = idle(&mut command)?;
    until("the element", || {
        let mut resolve = Command::new(&rserpool);
        resolve.args(["resolve", "sized", "--registrar", &registrar]).stderr(Stdio::null());
        resolve.stdout(Stdio::null()).status().ok().filter(|status| status.success())
    })?;
    let listen = format!("127.0.0.1:{listen}");
    let mut command = Command::new(&rserpool);
    command.args(["proxy", "sized", "--listen", &listen, "--registrar", &registrar]);
    let proxy = idle(&mut command)?;
    until("the proxy", || TcpStream::connect(&listen).ok())?;
    settle();

    let none = || Bounds { disk: None, memory: None };
    let small = || Bounds { disk: Some(600 * KIB), memory: Some(3 * MIB) };
    let rows = [
        ("tiny_user", &tiny_user, resident(&user)?, small()),
        ("tiny_element", &tiny_element, resident(&element)?, none()),
        // 10 MB are said, not MiB.
        ("rserpool registrar", &rserpool, registrar_memory, {
            Bounds { disk: None, memory: Some(10_000_000) }
        }),
        ("rserpool element", &rserpool, resident(&adopter)?, none()),
        ("rserpool proxy", &rserpool, resident(&proxy)?, none()),
    ];
    println!("{:<20} {:>14} {:>14}", "program", "stripped, KiB", "resident, KiB");
    let mut misses = Vec::new();
    let mut figures = Vec::new();
    for (name, program, memory, bounds) in rows {
        let disk = stripped(program)?;
        println!("{name:<20} {:>14} {:>14}", disk / KIB, memory / KIB);
        for (what, value, bound) in
            [("on disk", disk, bounds.disk), ("in memory", memory, bounds.memory)]
        {
            if bound.is_some_and(|bound| value >= bound) {
                misses.push(format!("{name}: {} KiB {what}", value / KIB));
            }
        }
        figures.push(json!({ "program": name, "stripped": disk, "resident": memory }));
    }
    keep("size", &json!({ "rows": figures, "misses": misses }))?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}

/// One of the programs for small devices, with the one machine it needs and without std in the
/// core.
fn tiny(example: &str, machine: &str) -> Result<PathBuf, Error> {
    let package = ["--profile", "small", "--package", "rserpool-proto", "--no-default-features"];
    built(&[&package[..], &["--features", machine, "--example", example]].concat())
}

/// Bytes of a program without what only debuggers read.
fn stripped(program: &Path) -> Result<u64, Error> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    let copy = folder.join(program.file_name().ok_or("a program has a name")?);
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(program);
    output(strip)?;
    Ok(fs::metadata(&copy)?.len())
}

/// Starts a program that says nothing we need.
fn idle(command: &mut Command) -> Result<Process, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process::of(command.spawn()?))
}

/// Starts a program that goes on until its input ends, says something to it, and waits for a line.
fn answering(command: &mut Command, said: &str) -> Result<(Process, String), Error> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = child.stdin.as_mut().ok_or("its input is a pipe")?;
    stdin.write_all(said.as_bytes())?;
    let stdout = child.stdout.take().ok_or("its output is a pipe")?;
    let process = Process::of(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((process, line.trim().to_owned()))
}

/// Bytes of the resident set.
fn resident(process: &Process) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("/proc/PID/status has no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * KIB)
}

/// Ports that nobody uses at this moment.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Waits until something has come about.
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, Error> {
    let started = Instant::now();
    loop {
        if let Some(result) = ready() {
            return Ok(result);
        }
        if started.elapsed() > Duration::from_secs(10) {
            return Err(format!("{what} was not up within 10 s").into());
        }
        sleep(Duration::from_millis(20));
    }
}

/// Gives programs the time to become idle.
fn settle() {
    sleep(Duration::from_secs(2));
}
