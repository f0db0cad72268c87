//! The examples of sessions as their first lines say to run them: a download that goes on, jobs that are
//! queued anew.

use super::Findings;
use super::stage::{Registrar, Running, Stage, until};
use crate::steps::Error;
use rustix::process::Signal;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// What a server has sent since its last cookie, at most.
const PIECE: u64 = 16 * 1024;

/// Servers are killed while they send, and while they count.
pub(super) fn sessions(
    stage: &Stage<'_>,
    quick: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let (_registrar, registrar) = stage.registrar("default")?;
    download(stage, &registrar, findings)?;
    compute(stage, &registrar, quick, findings)
}

fn download(
    stage: &Stage<'_>,
    registrar: &Registrar,
    findings: &mut Findings,
) -> Result<(), Error> {
    const KILLS: usize = 3;
    let original: Vec<u8> = (0..400_000_u64).flat_map(u64::to_be_bytes).collect();
    let (file, copy) = (stage.file("original"), stage.file("copy"));
    fs::write(&file, &original)?;
    let serve = || stage.example("download", registrar, &["serve", &file.to_string_lossy()]);
    let mut servers = (0..=KILLS).map(|_| serve()).collect::<Result<Vec<_>, _>>()?;
    until_listed(stage, registrar, "Files", servers.len())?;
    let mut fetch = stage.example("download", registrar, &["fetch", &copy.to_string_lossy()])?;
    let mut began = Vec::new();
    for round in 0..=KILLS {
        let mut sends = None;
        until(PATIENCE, "a server sends", || {
            sends = servers.iter().position(|server| !numbers(server, "sending from").is_empty());
            sends.is_some()
        })?;
        let mut server = servers.swap_remove(sends.ok_or("no server sends")?);
        began.extend(numbers(&server, "sending from"));
        if round < KILLS {
            sleep(Duration::from_millis(300));
            server.signal(Signal::KILL)?;
        } else {
            let status = fetch.wait(PATIENCE)?;
            findings.add("the download ends", "exit status: 0", status, status.success());
        }
    }
    let same = fs::read(&copy)? == original;
    findings.add("the copy is the file", "yes", if same { "yes" } else { "no" }, same);
    let died = numbers(&fetch, "has failed at byte");
    let goes_on = |(from, died): (&u64, &u64)| {
        *from > 0 && died.checked_sub(*from).is_some_and(|it| it <= PIECE)
    };
    let good = died.len() == KILLS
        && began.len() == KILLS + 1
        && began.iter().skip(1).zip(&died).all(goes_on);
    findings.add(
        "servers begin at the byte where the one before was killed",
        format!("{died:?}, or a piece before"),
        format!("{began:?}"),
        good,
    );
    Ok(())
}

fn compute(
    stage: &Stage<'_>,
    registrar: &Registrar,
    quick: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let (below, primes) = if quick { (2_000_000, 148_933) } else { (5_000_000, 348_513) };
    let serve = || stage.example("compute", registrar, &["serve"]);
    let mut servers = (0..3).map(|_| serve()).collect::<Result<Vec<_>, _>>()?;
    until_listed(stage, registrar, "Primes", servers.len())?;
    let mut count = stage.example("compute", registrar, &["count", &below.to_string()])?;
    for _ in 0..2 {
        sleep(Duration::from_millis(400));
        if let Some(mut server) = servers.pop() {
            server.signal(Signal::KILL)?;
        }
    }
    let status = count.wait(PATIENCE)?;
    findings.add("the jobs are done", "exit status: 0", status, status.success());
    let lost = numbers(&count, "the server of job").len();
    findings.add("jobs that a killed server had", "some", lost, lost > 0);
    let sum = numbers(&count, "").last().copied().unwrap_or_default();
    findings.add(format!("primes below {below}"), primes, sum, sum == primes);
    Ok(())
}

fn until_listed(
    stage: &Stage<'_>,
    registrar: &Registrar,
    pool: &str,
    servers: usize,
) -> Result<(), Error> {
    until(PATIENCE, "all servers are listed", || {
        stage.answer_for(registrar, pool).is_ok_and(|listed| listed.len() == servers)
    })
}

/// The first number behind these words, of each line that it has written with them.
fn numbers(running: &Running, words: &str) -> Vec<u64> {
    let text = fs::read_to_string(running.log()).unwrap_or_default();
    let behind = text.lines().filter_map(|line| Some(line.split_once(words)?.1));
    behind.filter_map(|rest| rest.split([' ', ',']).find_map(|word| word.parse().ok())).collect()
}
