//! Clients for the scenarios of the lab, neutral between implementations: they speak the RFCs on
//! kernel SCTP, use no extension, and print what came of it.
//!
//! ```text
//!   ask     one question after the other, one line for each answer
//!   resolve the same by our library, with certificates if it has to be
//!   load    as fast as the registrar can: questions or registrations per second
//!   bad     messages that are wrong in every way, and the errors that come back
//!   raw     bytes as they are
//!   echo    a server that knows nothing of pools, and talk, its client
//!   element an echo server that is a pool element by our library, of any policy
//!   serve   an element that takes sessions, by our library: ping-pong, jobs, or a sink
//!   converse, flow   their users
//!   peer    a registrar that does not answer, refuses for ever, or forges
//!   crowd   associations that say nothing, come and go, or never read
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what came of it goes to stdout")]
#![cfg_attr(not(target_os = "linux"), expect(unused, reason = "kernel SCTP is Linux's"))]

#[cfg(target_os = "linux")]
mod ask;
#[cfg(target_os = "linux")]
mod bad;
#[cfg(target_os = "linux")]
mod calc;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod echo;
#[cfg(target_os = "linux")]
mod element;
#[cfg(target_os = "linux")]
mod flow;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod pingpong;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod resolve;
#[cfg(target_os = "linux")]
mod secured;
#[cfg(target_os = "linux")]
mod session;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    use clap::Parser;

    /// Clients of the lab.
    #[derive(Parser)]
    enum Command {
        /// Asks a registrar for a pool, again and again, and prints each answer.
        Ask(ask::Arguments),
        /// Asks registrars for a pool, by the library.
        Resolve(resolve::Arguments),
        /// Asks or registers as fast as the registrar can.
        Load(load::Arguments),
        /// Sends messages that are wrong, and counts what comes back.
        Bad(bad::Arguments),
        /// Opens associations that are of no use.
        Crowd(crowd::Arguments),
        /// A registrar that is none.
        Peer(peer::Arguments),
        /// Sends bytes as they are.
        Raw(raw::Arguments),
        /// A server of echoes, without pools.
        Echo(echo::ServerArguments),
        /// A server of echoes that is an element of pools, by the library.
        Element(element::Arguments),
        /// Its client.
        Talk(echo::Arguments),
        /// A server of sessions that is an element of a pool, by the library.
        Serve(session::ServeArguments),
        /// Its user.
        Converse(session::Arguments),
        /// Sends messages through a session or an association as fast as they go.
        Flow(flow::Arguments),
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Command::parse() {
        Command::Ask(arguments) => runtime.block_on(ask::run(arguments)),
        Command::Resolve(arguments) => runtime.block_on(resolve::run(arguments)),
        Command::Load(arguments) => runtime.block_on(load::run(arguments)),
        Command::Bad(arguments) => runtime.block_on(bad::run(arguments)),
        Command::Echo(arguments) => runtime.block_on(echo::serve(arguments)),
        Command::Element(arguments) => runtime.block_on(element::run(arguments)),
        Command::Talk(arguments) => runtime.block_on(echo::talk(arguments)),
        Command::Serve(arguments) => runtime.block_on(session::serve(arguments)),
        Command::Converse(arguments) => runtime.block_on(session::converse(arguments)),
        Command::Flow(arguments) => runtime.block_on(flow::run(arguments)),
        Command::Peer(arguments) => runtime.block_on(peer::run(arguments)),
        Command::Raw(arguments) => runtime.block_on(raw::run(arguments)),
        Command::Crowd(arguments) => runtime.block_on(crowd::run(arguments)),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
