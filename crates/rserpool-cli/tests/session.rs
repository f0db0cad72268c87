//! `rserpool session` as people run it, against elements of the library.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "other tests use the rest of what they share")]

mod support;

use rserpool::PoolElement;
use rserpool::pool_element::PoolElementConfig;
use rserpool::proto::wire::transport::Transport;
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession, Service, Start};
use std::io::Write as _;
use support::{Running, Scope, rserpool};

/// Numbers the lines of a session, across elements.
async fn number(mut session: ServedSession) {
    let mut lines = match session.start() {
        Start::Resumed(state) => state[0],
        _ => 0,
    };
    while let Some(Incoming::Message(payload)) = session.next().await {
        lines += 1;
        let text = [format!("{lines} ").as_bytes(), &payload.bytes].concat();
        session.send_cookie(&[lines]).await.unwrap();
        session.send(text).await.unwrap();
        if payload.bytes == b"bye" {
            return;
        }
    }
}

async fn serve(scope: &Scope) -> Service {
    let transport = Transport::Tcp("127.0.0.1:0".parse().unwrap());
    let registrars = vec![scope.asap.parse().unwrap()];
    let config = PoolElementConfig::new("Lines".parse().unwrap(), transport, registrars);
    let service = PoolElement::serve(ServeConfig::new(config), number).await.unwrap();
    service.element().registered().await.unwrap();
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_to_whichever_element_lives_and_failovers_are_shown() {
    let scope = Scope::start();
    let first = serve(&scope).await;
    let mut command = rserpool(&["session", "Lines", "--json", "--registrar", &scope.asap]);
    let (lines, mut stdin) = std::io::pipe().unwrap();
    command.stdin(lines);
    let mut session = Running::spawn(command);
    let is = |event: &'static str| move |line: &serde_json::Value| line["event"] == event;
    let begun = session.line(is("begun"));
    assert_eq!(begun["element"], format!("{}/Lines", first.element().id()));
    writeln!(stdin, "one").unwrap();
    assert_eq!(session.line(is("message"))["text"], "1 one");
    let second = serve(&scope).await;
    drop(first);
    let failover = session.line(is("failover"));
    assert_eq!(failover["cookie_sent"], true);
    assert_eq!(failover["element"], format!("{}/Lines", second.element().id()));
    writeln!(stdin, "two").unwrap();
    assert_eq!(session.line(is("message"))["text"], "2 two");
    writeln!(stdin, "bye").unwrap();
    assert_eq!(session.line(is("message"))["text"], "3 bye");
    assert_eq!(session.line(is("ended"))["unsent"], 0);
    assert!(session.wait().success());
}
