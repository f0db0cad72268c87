//! Durations, shares of 32 bits, identifiers and units as people write them.

use rserpool::proto::endpoint::pool_element::LifeUnit;
use std::time::Duration;

/// Reads `250ms`, `1s`, `1.5s`, `2m`, `1h`, `100us`; a unit is always needed but for `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time like 250ms, 1.5s, 2m or 1h");
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim_start() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let micros = (number * seconds * 1e6).round();
    // A century is far within what every machine can add to its clock.
    if micros > 100.0 * 365.0 * 86_400.0 * 1e6 {
        return Err(format!("`{text}` is longer than a hundred years"));
    }
    Ok(Duration::from_micros(micros as u64))
}

/// Reads a share such as a load: `25%`, or the word itself, 0 to 4294967295 for 0 to 100 %
/// (RFC 5356 §4.4).
pub(crate) fn parse_share(text: &str) -> Result<u32, String> {
    let wrong =
        || format!("`{text}` is neither a percentage like 25% nor a number up to {}", u32::MAX);
    let Some(percent) = text.trim().strip_suffix('%') else {
        return text.trim().parse().map_err(|_| wrong());
    };
    let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    Ok((percent / 100.0 * f64::from(u32::MAX)).round() as u32)
}

/// Writes a share as a percentage.
pub(crate) fn share(word: u32) -> String {
    let percent = f64::from(word) / f64::from(u32::MAX) * 100.0;
    let text = format!("{percent:.2}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Reads an identifier of 32 bits: `0x1234abcd` or decimal, not zero.
pub(crate) fn parse_id(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(&hex.replace('_', ""), 16),
        None => text.parse(),
    };
    match number {
        Ok(0) => Err("0 stands for \"none\"; leave it out to have one drawn".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is not a number of 32 bits like 0x1234abcd")),
    }
}

/// Reads `seconds` or `milliseconds`.
pub(crate) fn parse_life_unit(text: &str) -> Result<LifeUnit, String> {
    match text {
        "seconds" => Ok(LifeUnit::Seconds),
        "milliseconds" => Ok(LifeUnit::Milliseconds),
        _ => Err("it is neither \"seconds\" nor \"milliseconds\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        let ms = |text| parse_duration(text).map(|time| time.as_millis());
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("1.5s"), Ok(1_500));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("0"), Ok(0));
        for wrong in ["", "250", "ms", "-1s", "1d", "1.2.3s", "nan s", "1e9s", "99999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_read_as_percentages_or_words() {
        assert_eq!(parse_share("100%"), Ok(u32::MAX));
        assert_eq!(parse_share("0%"), Ok(0));
        assert_eq!(parse_share("50%"), Ok(0x8000_0000));
        assert_eq!(parse_share("77"), Ok(77));
        for wrong in ["101%", "-1%", "%", "x", "NaN%", "4294967296"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(share(0x8000_0000), "50%");
        assert_eq!(share(parse_share("12.5%").unwrap()), "12.5%");
    }

    #[test]
    fn identifiers_are_read_as_they_are_shown() {
        assert_eq!(parse_id("0x0000_00ff"), Ok(255));
        assert_eq!(parse_id("255"), Ok(255));
        assert!(parse_id("0").is_err());
        assert!(parse_id("0x1ffffffff").is_err());
    }
}
