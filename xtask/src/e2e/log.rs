//! What the proxy has logged about connections, by time.

use crate::steps::Error;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A line about a connection to an element.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Since 1970.
    pub(super) at: Duration,
    /// `connected`, `connect failed`, `disconnected`, ...
    pub(super) message: String,
    /// The element's.
    pub(super) address: SocketAddr,
    /// How the connection ended, if it did.
    pub(super) how: Option<String>,
}

impl Line {
    /// Whether it tells of an attempt to connect.
    pub(super) fn is_attempt(&self) -> bool {
        matches!(self.message.as_str(), "connected" | "connect failed")
    }

    /// Whether it tells of a connection that ended without its last answer.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.how.as_deref(), Some("element broke" | "unanswered"))
    }
}

/// Reads the proxy's log; lines about other things are left out.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().filter_map(line).collect())
}

fn line(text: &str) -> Option<Line> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Line {
        at: since_1970(value["timestamp"].as_str()?)?,
        message: value["message"].as_str()?.to_owned(),
        address: value["address"].as_str()?.parse().ok()?,
        how: value["how"].as_str().map(str::to_owned),
    })
}

/// Reads `2026-11-22T12:53:35.123456Z`.
fn since_1970(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split(':');
    let hours: f64 = time.next()?.parse().ok()?;
    let minutes: f64 = time.next()?.parse().ok()?;
    let seconds: f64 = time.next()?.parse().ok()?;
    // Years that begin in March: the day that some have more is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // 1970-01-01 counted in the same way.
    let days = days - 719_468;
    let seconds = (days as f64) * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_written() {
        let seconds = |text| since_1970(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2000-02-29T12:00:00.5Z"), Some(951_825_600.5));
        assert_eq!(seconds("2026-11-22T12:53:35Z"), Some(1_795_352_015.0));
        assert_eq!(seconds("today"), None);
    }

    #[test]
    fn lines_about_elements_are_picked_out() {
        let text = r#"{"timestamp":"1970-01-01T00:00:01Z","level":"DEBUG","message":"disconnected","handle":"web","address":"127.0.0.1:80","how":"unanswered"}"#;
        let line = line(text).unwrap();
        assert!(line.is_broken() && !line.is_attempt());
        assert_eq!(line.at, Duration::from_secs(1));
        assert_eq!(super::line("no JSON"), None);
    }
}
