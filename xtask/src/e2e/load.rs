//! Clients: `hey`, and single requests.

use super::stage::{Running, Stage};
use crate::steps::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A load that runs.
pub(super) struct Load(Running);

/// What has become of its requests.
pub(super) struct Answers {
    /// Answered with status 200.
    pub(super) good: u64,
    /// All others.
    pub(super) failed: u64,
    /// The others, in hey's words.
    pub(super) errors: Vec<String>,
}

impl Load {
    /// Requests for `duration` on `connections` that are kept alive, as fast as they are answered.
    pub(super) fn kept_alive(
        stage: &Stage<'_>,
        to: SocketAddr,
        connections: u32,
        duration: Duration,
    ) -> Result<Self, Error> {
        let connections = connections.to_string();
        Self::start(stage, "hey", &["-c", &connections], to, duration)
    }

    /// A connection for every request, 200 a second. Such requests are never tried twice by the
    /// client: nothing but the proxy hides what happens.
    pub(super) fn new_connections(
        stage: &Stage<'_>,
        to: SocketAddr,
        duration: Duration,
    ) -> Result<Self, Error> {
        let flags = ["-c", "4", "-q", "50", "-disable-keepalive"];
        Self::start(stage, "hey-new", &flags, to, duration)
    }

    fn start(
        stage: &Stage<'_>,
        name: &str,
        flags: &[&str],
        to: SocketAddr,
        duration: Duration,
    ) -> Result<Self, Error> {
        let seconds = format!("{}s", duration.as_secs());
        let url = format!("http://{to}/");
        let mut arguments = vec!["-z", &seconds];
        arguments.extend(flags);
        arguments.push(&url);
        Ok(Self(stage.start(name, stage.programs().hey(), &arguments)?))
    }

    /// Whether it is over.
    pub(super) fn is_over(&mut self) -> bool {
        self.0.ended().is_some()
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> Result<Answers, Error> {
        self.0.wait(Duration::from_secs(60))?;
        Answers::read(&self.0.output()?)
    }
}

impl Answers {
    /// Reads hey's summary: `[200]<tab>4711 responses` and `[3]<tab>Get ...: EOF`.
    fn read(summary: &str) -> Result<Self, Error> {
        let mut answers = Self { good: 0, failed: 0, errors: Vec::new() };
        let mut section = "";
        for line in summary.lines().map(str::trim) {
            if line.ends_with("distribution:") {
                section = line;
            }
            let Some((number, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']'))
            else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else { continue };
            match section {
                "Status code distribution:" => {
                    let count = rest.trim().strip_suffix(" responses").unwrap_or(rest).trim();
                    let count: u64 = count.parse()?;
                    if number == 200 {
                        answers.good += count;
                    } else {
                        answers.failed += count;
                        answers.errors.push(format!("{count} x status {number}"));
                    }
                }
                "Error distribution:" => {
                    answers.failed += number;
                    answers.errors.push(format!("{number} x {}", rest.trim()));
                }
                _ => {}
            }
        }
        if answers.good + answers.failed == 0 {
            return Err(format!("hey made no request:\n{summary}").into());
        }
        Ok(answers)
    }

    /// `263531, 0 failed`.
    pub(super) fn show(&self) -> String {
        let mut text = format!("{}, {} failed", self.good, self.failed);
        for error in &self.errors {
            text.push_str("; ");
            text.push_str(error);
        }
        text
    }
}

/// One request on a connection of its own; whether it is answered with status 200.
pub(super) fn get(to: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let patience = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: pool\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200 "))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_errors_are_told_apart_in_a_summary() {
        let summary = "Response time histogram:\n  0.000 [1]\t|\n  0.005 [248852]\t|#\n\n\
            Status code distribution:\n  [200]\t1000 responses\n  [502]\t2 responses\n\n\
            Error distribution:\n  [3]\tGet \"http://127.0.0.1:1/\": EOF\n";
        let answers = Answers::read(summary).unwrap();
        assert_eq!((answers.good, answers.failed), (1000, 5));
        assert_eq!(answers.errors[0], "2 x status 502");
        assert!(Answers::read("nothing").is_err());
    }
}
