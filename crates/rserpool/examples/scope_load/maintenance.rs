//! Elements that re-register all the time: what that costs their home, and a registrar with a copy.

use super::Outcome;
use super::host::{Host, quiet};
use super::link::{Link, registration};
use rserpool::proto::id::PeId;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn run(registrars: usize, elements: u32, interval_ms: u32, seconds: f64) -> Outcome {
    let mut hosts: Vec<Host> = Vec::new();
    for _ in 0..registrars {
        let host = Host::start(&hosts.iter().collect::<Vec<_>>(), quiet())?;
        hosts.push(host);
    }
    let home = hosts.first().ok_or("there is no registrar")?;
    let mut link = Link::open(home.asap)?;
    link.register(elements)?;
    let messages: Vec<_> =
        (0..elements).map(|id| registration(PeId(id))).collect::<Result<_, _>>()?;
    let offered = f64::from(elements) * 1000.0 / f64::from(interval_ms);
    // Until the registrars know each other and the elements.
    thread::sleep(Duration::from_millis(500));

    let looks = |hosts: &[Host]| -> Outcome<Vec<(Duration, u64, u64)>> {
        hosts.iter().map(|it| Ok((it.cpu()?, it.messages(), it.bytes()))).collect()
    };
    let before = looks(&hosts)?;
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let began = Instant::now();
    link.set_nonblocking(true)?;
    while began.elapsed().as_secs_f64() < seconds {
        let due = (began.elapsed().as_secs_f64() * offered) as u64;
        // No more than a second's worth waits for answers: what is beyond is not achieved.
        while sent < due && (sent - answered) < offered as u64 {
            let message = &messages[(sent % u64::from(elements)) as usize];
            link.set_nonblocking(false)?;
            link.send(message)?;
            link.set_nonblocking(true)?;
            sent += 1;
        }
        answered += u64::from(link.answers()?);
        thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed().as_secs_f64();
    let after = looks(&hosts)?;
    let each: Vec<_> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            let cpu = (after.0.saturating_sub(before.0)).as_secs_f64() / took;
            let messages = (after.1 - before.1) as f64 / took;
            (cpu, messages, (after.2 - before.2) as f64 / took)
        })
        .collect();
    let copies = each.get(1..).unwrap_or_default();
    let mean = |of: fn(&(f64, f64, f64)) -> f64| match copies {
        [] => 0.0,
        copies => copies.iter().map(of).sum::<f64>() / copies.len() as f64,
    };
    let all = before.len() as f64;
    println!(
        r#"{{"registrars":{registrars},"elements":{elements},"interval_ms":{interval_ms},"offered":{offered:.0},"achieved":{:.1},"cpu_home":{:.4},"cpu_copy":{:.4},"messages":{:.1},"bytes":{:.0},"messages_home":{:.1},"messages_copy":{:.1},"bytes_home":{:.0},"bytes_copy":{:.0}}}"#,
        answered as f64 / took,
        each[0].0,
        mean(|it| it.0),
        each.iter().map(|it| it.1).sum::<f64>() / all,
        each.iter().map(|it| it.2).sum::<f64>() / all,
        each[0].1,
        mean(|it| it.1),
        each[0].2,
        mean(|it| it.2),
    );
    Ok(())
}
