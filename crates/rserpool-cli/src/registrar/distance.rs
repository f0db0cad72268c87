//! How far hosts are from this registrar: `[distance]` in its file.
//!
//! The section may be the same for all registrars of a scope but for `location`.

use crate::config::{self, Section};
use rserpool::proto::handlespace::{Distances, Network};
use std::collections::BTreeMap;
use std::net::IpAddr;
use toml::de::DeValue;

/// A host's place: a location by its name, or how far it is.
enum Place {
    Location(String),
    Far(u32),
}

/// Reads the section.
pub(super) fn read(section: &mut Section<'_>) -> Distances {
    let own = section.take("location", |value| config::text(value).map(str::to_owned));
    // From each location to each other one, both ways.
    let mut matrix: BTreeMap<(String, String), u32> = BTreeMap::new();
    section.section("from", |from| {
        for one in from.keys() {
            from.section(&one, |to| {
                for other in to.keys() {
                    if let Some(far) = to.take(&other, millis) {
                        matrix.insert((one.clone(), other.clone()), far);
                        matrix.entry((other, one.clone())).or_insert(far);
                    }
                }
            });
        }
    });
    let mut networks = Vec::new();
    section.section("hosts", |hosts| {
        for name in hosts.keys() {
            let place = hosts.take(&name, place);
            let (address, prefix) = match network(&name) {
                Ok(network) => network,
                Err(error) => {
                    hosts.problem(&name, error);
                    continue;
                }
            };
            let distance = match place {
                Some(Place::Far(distance)) => distance,
                Some(Place::Location(there)) => match &own {
                    Some(own) if *own == there => 0,
                    Some(own) => match matrix.get(&(own.clone(), there.clone())) {
                        Some(distance) => *distance,
                        None => {
                            hosts.problem(
                                &name,
                                format!("nobody says how far {there} is from {own}"),
                            );
                            continue;
                        }
                    },
                    None => {
                        hosts.problem(&name, "this registrar has no location of its own");
                        continue;
                    }
                },
                None => continue,
            };
            networks.push(Network { address, prefix, distance });
        }
        if networks.len() > Distances::MOST {
            hosts.problem("", format!("at most {} networks", Distances::MOST));
        }
    });
    Distances::new(networks)
}

fn place(value: &DeValue<'_>) -> Result<Place, String> {
    let text = config::text(value)?;
    match text.starts_with(|first: char| first.is_ascii_digit()) {
        true => millis(value).map(Place::Far),
        false => Ok(Place::Location(text.into())),
    }
}

fn millis(value: &DeValue<'_>) -> Result<u32, String> {
    let millis = config::duration(value)?.as_millis();
    u32::try_from(millis).map_err(|_| "too far".into())
}

/// Reads `10.1.0.0/16`, or an address.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr =
        address.parse().map_err(|_| "neither an address nor a network such as 10.1.0.0/16")?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest),
        None => Some(longest),
    };
    let prefix = prefix.ok_or_else(|| format!("a prefix has 0 to {longest} bits"))?;
    Ok((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;

    const FILE: &str = "\
location = 'berlin'
[hosts]
'10.1.0.0/16' = 'berlin'
'10.2.0.0/16' = 'paris'
'10.2.0.7' = '40ms'
'fd00::/8' = 'rome'
[from.berlin]
paris = '9ms'
[from.rome]
berlin = '21ms'
paris = '15ms'
";

    #[test]
    fn a_host_is_as_far_as_its_location_or_as_is_said_of_itself() {
        let distances = config::read(FILE, read).unwrap();
        let of = |address: &str| distances.of(address.parse().unwrap());
        assert_eq!(of("10.1.9.9"), Some(0));
        assert_eq!(of("10.2.9.9"), Some(9));
        assert_eq!(of("10.2.0.7"), Some(40));
        assert_eq!(of("fd12::1"), Some(21));
        assert_eq!(of("10.3.0.1"), None);
        let elsewhere = config::read(&FILE.replacen("berlin", "rome", 1), read).unwrap();
        assert_eq!(elsewhere.of("10.2.9.9".parse().unwrap()), Some(15));
    }

    #[test]
    fn all_that_is_wrong_with_distances_is_said() {
        let text = "[hosts]\n'10.1' = '1ms'\n'10.0.0.0/33' = '1ms'\n'::1' = 'paris'\n'::2' = 7\n";
        let problems = config::read(text, read).unwrap_err();
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said.len(), 4, "{said:#?}");
        let text = "location = 'a'\n[hosts]\n'::1' = 'b'\n";
        let said = config::read(text, read).unwrap_err()[0].to_string();
        assert_eq!(said, "line 3: hosts.\"::1\": nobody says how far b is from a");
    }
}
