//! A registrar dies: what its elements and its peers say until all is as before.

use super::Outcome;
use super::host::Host;
use super::link::POOL;
use rserpool::PoolElement;
use rserpool::pool_element::PoolElementConfig;
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::RegistrarTimers;
use rserpool::proto::wire::transport::Transport;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Elements started at a time.
const BATCH: usize = 100;
/// Time to come to rest after the last element has registered.
const REST: Duration = Duration::from_secs(3);
/// Time looked at before the end of the one.
const BEFORE: Duration = Duration::from_secs(4);

pub(crate) fn run(registrars: usize, elements: usize, seconds: u64) -> Outcome {
    let mut hosts: Vec<Host> = Vec::new();
    for _ in 0..registrars {
        let host = Host::start(&hosts.iter().collect::<Vec<_>>(), RegistrarTimers::default())?;
        hosts.push(host);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let places: Vec<Locator> = hosts.iter().map(|host| Locator::tcp(host.asap)).collect();
    let started: Vec<PoolElement> = runtime.block_on(async {
        let mut started = Vec::new();
        while started.len() < elements {
            let mut batch = Vec::new();
            for number in started.len()..elements.min(started.len() + BATCH) {
                let at = Transport::Tcp((Ipv4Addr::LOCALHOST, 1024 + number as u16).into());
                let config = PoolElementConfig::new(POOL.parse()?, at, places.clone());
                batch.push(PoolElement::start(config).await?);
            }
            for element in &batch {
                element.registered().await?;
            }
            started.append(&mut batch);
        }
        Ok::<_, Box<dyn std::error::Error>>(started)
    })?;
    thread::sleep(REST);

    let victim = hosts.remove(0);
    let began = Instant::now();
    let mut looks = Vec::new();
    let mut victim = Some(victim);
    let whole = BEFORE + Duration::from_secs(seconds);
    let mut killed_at = 0.0;
    while began.elapsed() < whole {
        let counts: Vec<u64> = hosts.iter().map(Host::messages).collect();
        looks.push((began.elapsed().as_secs_f64(), counts));
        if began.elapsed() >= BEFORE
            && let Some(victim) = victim.take()
        {
            killed_at = began.elapsed().as_secs_f64();
            victim.kill();
        }
        thread::sleep(LOOK);
    }
    let alive = runtime.block_on(async {
        let user =
            rserpool::table::Options { timeout: Duration::from_secs(10), ..Default::default() };
        let table = rserpool::table::read_with(&Locator::tcp(hosts[0].enrp), user).await?;
        Ok::<_, rserpool::table::TableError>(
            table.pools.iter().map(|pool| pool.elements.len()).sum::<usize>(),
        )
    })?;
    let text: Vec<String> =
        looks.iter().map(|(at, counts)| format!("[{:.3},{counts:?}]", at - killed_at)).collect();
    println!(
        r#"{{"elements":{elements},"listed":{alive},"rehome_rate":{},"looks":[{}]}}"#,
        RegistrarTimers::default().rehome_rate,
        text.join(",")
    );
    runtime.shutdown_background();
    drop(started);
    Ok(())
}
