//! The commands as people and scripts run them: registrar, element, list, resolve, watch.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use rserpool::proto::id::PeId;
use rserpool::proto::wire::transport::Transport;
use rserpool::{PoolUser, pool_user::PoolUserConfig};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Running, Scope, kill, own_address, rserpool, run, serve_http, stderr};

const SERVE: &str = "RSERPOOL_TEST_SERVE";

/// No test: the server of some, run by them as a process of its own.
#[test]
#[ignore = "run by other tests"]
fn http_server_of_other_tests() {
    if let Ok(address) = std::env::var(SERVE) {
        serve_http(address.parse().unwrap());
    }
}

/// An element that starts and supervises a server of its own, with these flags.
fn supervised(scope: &Scope, test: u8, more: &[&str]) -> Running {
    let address = own_address(test).to_string();
    let program = std::env::current_exe().unwrap();
    let mut command = rserpool(&["element", "web", "--tcp", &address, "--check", "http:/"]);
    command.args(["--registrar", &scope.asap, "--log-format", "json"]).args(more).arg("--");
    command.arg(program).args(["--exact", "http_server_of_other_tests", "--ignored"]);
    command.env(SERVE, address);
    Running::spawn(command)
}

fn is(change: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |line| line["change"] == change
}

#[test]
fn an_adopted_server_is_listed_resolved_and_watched_until_it_is_gone() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let server = TcpListener::bind(own_address(1)).unwrap();
    let address = server.local_addr().unwrap();
    let mut element = scope.element(address, &["--policy", "least-used", "--load", "25%"]);

    let added = watch.line(is("added"));
    assert_eq!(added["element"]["addresses"][0], address.to_string());
    let list = run(&["list", "web", "--json", "--enrp", &scope.enrp]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["elements"][0], added["element"]);
    assert_eq!(list[0]["secured"], false);
    let resolved = scope.resolve("web");
    assert!(resolved.status.success());
    let resolved: serde_json::Value = serde_json::from_slice(&resolved.stdout).unwrap();
    assert_eq!(resolved["elements"][0], added["element"]);
    assert_eq!(resolved["elements"][0]["policy"]["name"], "least-used");
    let table = run(&["list", "--enrp", &scope.enrp]);
    assert!(stderr(&table).contains("open scope"), "{table:?}");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("least-used load=25%"), "{table}");
    assert!(!table.contains('\u{1b}'), "colours in a pipe: {table:?}");

    // One refused connection is enough.
    drop(server);
    watch.line(is("removed"));
    element.log("server is not well");
    // And it comes back when the server does.
    let _server = TcpListener::bind(address).unwrap();
    assert_eq!(watch.line(is("added"))["element"]["id"], added["element"]["id"]);
    element.signal(Signal::INT);
    watch.line(is("removed"));
}

#[test]
fn unknown_pool_no_registrar_and_no_element_are_three_errors_that_say_what_to_do() {
    let scope = Scope::start();
    let unknown = scope.resolve("nothing");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("there is no pool nothing"), "{}", stderr(&unknown));
    let unknown = run(&["list", "nothing", "--enrp", &scope.enrp]);
    assert!(stderr(&unknown).contains("there is no pool nothing"), "{}", stderr(&unknown));

    let server = TcpListener::bind(own_address(2)).unwrap();
    let _element = scope
        .element(server.local_addr().unwrap(), &["--policy", "weighted-random", "--weight", "0"]);
    let none = scope.resolve("web");
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no element of pool web"), "{}", stderr(&none));

    let nowhere = format!("tcp://{}", own_address(3));
    let silent =
        run(&["resolve", "web", "--timers", "realtime", "--registrar", &nowhere, "--json"]);
    assert_eq!(silent.status.code(), Some(1));
    assert!(stderr(&silent).contains("no registrar answers at"), "{}", stderr(&silent));
    assert!(stderr(&silent).contains("rserpool registrar"), "{}", stderr(&silent));
    let silent = run(&["list", "--enrp", &nowhere]);
    assert_eq!(silent.status.code(), Some(1));
    assert!(stderr(&silent).contains("--enrp"), "{}", stderr(&silent));
}

#[test]
fn another_policy_than_the_pool_s_is_refused_in_words() {
    let scope = Scope::start();
    let server = TcpListener::bind(own_address(4)).unwrap();
    let address = server.local_addr().unwrap();
    let _element = scope.element(address, &["--policy", "least-used"]);
    let other = run(&["element", "web", "--tcp", &address.to_string(), "--registrar", &scope.asap]);
    assert_eq!(other.status.code(), Some(1));
    let said = stderr(&other);
    assert!(said.contains("pool web has another policy: least-used"), "{said}");
    assert!(said.contains("--policy least-used"), "{said}");
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind(own_address(5)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = "tcp://127.0.0.1:0";
    let wanted = format!("tcp://{taken}");
    for flags in [["--asap", &wanted, "--enrp", free], ["--enrp", &wanted, "--asap", free]] {
        let _held = TcpListener::bind(&taken);
        let output = run(&[&["registrar"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(&format!("{taken} is in use")), "{said}");
        assert!(said.contains(&format!("another address by {} ", flags[0])), "{said}");
    }
}

#[test]
fn a_bad_file_is_refused_with_all_its_problems() {
    let file = std::env::temp_dir().join(format!("rserpool-{}.toml", std::process::id()));
    std::fs::write(&file, "asap = \"here\"\n[timers]\nkeep_alive_timeout = 5\nx = 1\n").unwrap();
    let name = file.to_str().unwrap();
    let bad = run(&["registrar", "--config", name]);
    assert_eq!(bad.status.code(), Some(2));
    let said = stderr(&bad);
    for part in
        ["3 problems", "line 1: asap:", "line 3: timers.keep_alive_timeout:", "line 4: timers.x:"]
    {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    std::fs::write(&file, "asap = \"tcp://127.0.0.1:0\"\n").unwrap();
    let good = run(&["registrar", "--config", name, "--check-config"]);
    assert!(good.status.success(), "{}", stderr(&good));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run(&["registrar", "--config", name]).status.code(), Some(2));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["element", "web", "--tcp", "0.0.0.0:80"][..],
        &["element", "web", "--tcp", "127.0.0.1:80", "--weight", "3"],
        &["resolve", "web", "--registrar", "udp://127.0.0.1:3863"],
        &["list", "--log-level", "loud"],
        &["registrar", "--asap", "tcp://127.0.0.1:7", "--enrp", "tcp://127.0.0.1:7"],
        &["nothing"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let scope = Scope::start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        rserpool(&["list", "--enrp", &scope.enrp]).stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
}

#[test]
fn sigterm_takes_a_supervised_server_out_of_its_pool_and_stops_it() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let mut element = supervised(&scope, 6, &["--drain", "0"]);
    let pid = element.log("server started")["pid"].as_u64().unwrap();
    watch.line(is("added"));
    element.signal(Signal::TERM);
    watch.line(is("removed"));
    assert_eq!(element.wait().code(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the server is still there");
}

#[test]
fn a_server_that_ends_by_itself_is_out_at_once_and_ends_the_command_with_its_code() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let mut element = supervised(&scope, 7, &[]);
    let pid = element.log("server started")["pid"].as_u64().unwrap();
    watch.line(is("added"));
    kill(u32::try_from(pid).unwrap(), Signal::KILL);
    watch.line(is("removed"));
    assert_eq!(element.wait().code(), Some(128 + 9));

    // With --restart it comes back, as the same element.
    let mut element = supervised(&scope, 7, &["--restart"]);
    let pid = element.log("server started")["pid"].as_u64().unwrap();
    let id = watch.line(is("added"))["element"]["id"].clone();
    kill(u32::try_from(pid).unwrap(), Signal::KILL);
    watch.line(is("removed"));
    assert_eq!(watch.line(is("added"))["element"]["id"], id);
}

/// The system accepts for a stopped process, so that only an answer shows that it runs.
#[test]
fn a_stopped_server_is_out_within_a_second_and_a_half_and_back_when_it_runs_on() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let mut element = supervised(&scope, 8, &["--drain", "0"]);
    let pid = u32::try_from(element.log("server started")["pid"].as_u64().unwrap()).unwrap();
    watch.line(is("added"));
    let stopped = Instant::now();
    kill(pid, Signal::STOP);
    watch.line(is("removed"));
    assert!(stopped.elapsed() < Duration::from_millis(1_500), "{:?}", stopped.elapsed());
    kill(pid, Signal::CONT);
    watch.line(is("added"));
}

/// RFC 5352 §3.5: a report makes the registrar ask for a sign of life; an adopter gives none for
/// its server without having looked at it.
#[test]
fn a_report_about_a_dead_server_behind_a_living_adopter_removes_it_at_once() {
    // By itself this registrar never asks, and the adopter looks once a minute.
    let any = "tcp://127.0.0.1:0";
    let mut registrar =
        Running::start(&["registrar", "--timers", "rfc", "--asap", any, "--enrp", any]);
    let line = registrar.log("registrar started");
    let address = |key: &str| line[key].as_str().unwrap().to_owned();
    let scope = Scope { asap: address("asap"), enrp: address("enrp"), registrar };
    let mut watch = scope.watch();
    let server = TcpListener::bind(own_address(9)).unwrap();
    let address = server.local_addr().unwrap();
    let _element = scope.element(address, &["--check-interval", "60s"]);
    let added = watch.line(is("added"));
    let id = added["element"]["id"].as_str().unwrap();
    let id = PeId(u32::from_str_radix(id.trim_start_matches("0x"), 16).unwrap());
    drop(server);
    // The look that let it in must be too old to speak for it.
    std::thread::sleep(Duration::from_millis(401));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reported = runtime.block_on(async {
        let user = PoolUser::new(PoolUserConfig::new(vec![scope.asap.parse().unwrap()]));
        let handle = "web".parse().unwrap();
        user.resolve(&handle).await.unwrap();
        let reported = Instant::now();
        user.report_unreachable(&handle, id);
        watch.line(is("removed"));
        reported.elapsed()
    });
    assert!(reported < Duration::from_secs(1), "{reported:?}");
}

#[test]
fn a_second_signal_ends_a_command_that_drains_and_its_server_with_it() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let mut element = supervised(&scope, 10, &["--drain", "1h", "--timers", "rfc"]);
    let pid = element.log("server started")["pid"].as_u64().unwrap();
    watch.line(is("added"));
    element.signal(Signal::TERM);
    element.log("draining; again Ctrl-C or SIGTERM ends it at once");
    element.signal(Signal::TERM);
    assert_eq!(element.wait().code(), Some(130));
    // It has been killed; whoever inherits it may be slow to notice.
    let stat = format!("/proc/{pid}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|state| !state.contains(") Z ")) {
        std::thread::yield_now();
    }
}

#[test]
fn completions_and_manual_pages_are_written() {
    let script = run(&["completions", "bash"]);
    assert!(script.status.success() && !script.stdout.is_empty());
    let page = run(&["man"]);
    assert!(String::from_utf8(page.stdout).unwrap().contains("rserpool"));
}

#[test]
fn an_interrupted_registrar_ends_in_order() {
    let mut scope = Scope::start();
    scope.registrar.signal(Signal::INT);
    let status = scope.registrar.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn a_registrar_that_is_told_to_drain_has_left_when_the_command_is_back() {
    let folder = own_folder("drain");
    let file = folder.join("registrar.pid");
    let name = file.to_str().unwrap();
    let drain = || run(&["registrar", "drain", "--pid-file", name]);
    let none = drain();
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no registrar runs with"), "{}", stderr(&none));

    let any = "tcp://127.0.0.1:0";
    let flags = ["registrar", "--asap", any, "--enrp", any, "--pid-file", name];
    let mut registrar = Running::start(&flags);
    registrar.log("registrar started");
    let second = run(&flags);
    assert!(stderr(&second).contains("a registrar runs with"), "{}", stderr(&second));
    let drained = drain();
    assert!(drained.status.success(), "{}", stderr(&drained));
    assert_eq!(registrar.wait().code(), Some(0));
    assert!(!file.exists());

    // A file of one that died names nobody, whoever has its number now.
    std::fs::write(&file, std::process::id().to_string()).unwrap();
    assert!(stderr(&drain()).contains("no registrar runs with"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_process_serves_two_scopes_and_one_server_is_in_both() {
    let folder = own_folder("scopes");
    let file = folder.join("scopes.toml");
    let scope = |name| format!("[[scope]]\nname='{name}'\nasap='tcp://127.0.0.1:0'\nenrp=[]\n");
    std::fs::write(&file, scope("east") + &scope("west")).unwrap();
    let mut registrar = Running::start(&["registrar", "--config", file.to_str().unwrap()]);
    let mut asap = || registrar.log("scope served")["asap"].as_str().unwrap().to_owned();
    let (east, west) = (asap(), asap());

    let _server = TcpListener::bind(own_address(14)).unwrap();
    let (server, of_west) = (own_address(14).to_string(), format!("west=tcp://{west}"));
    let home = format!("tcp://{east}");
    let mut element = Running::start(&[
        "element",
        "web",
        "shop@west",
        "--tcp",
        &server,
        "--registrar",
        &home,
        "--scope",
        &of_west,
    ]);
    element.log("registered");
    element.log("registered");
    let resolve = |pool: &str| {
        let output = run(&["resolve", pool, "--json", "--registrar", &home, "--scope", &of_west]);
        output.status.code()
    };
    assert_eq!(resolve("web"), Some(0));
    assert_eq!(resolve("shop@west"), Some(0));
    assert_eq!(resolve("shop"), Some(1));
    assert_eq!(resolve("web@west"), Some(1));
    std::fs::remove_dir_all(folder).unwrap();
}

/// A registrar whose file has one definition of the policy `mine`, and that has been told more.
fn registrar_with(folder: &std::path::Path, name: &str, key: &str, more: &[&str]) -> Scope {
    let file = folder.join(name);
    let words = "words = ['load']";
    // The first elements of a pool are all new.
    let rules = "[selection]\nslow_start = false\n";
    let text = format!("{rules}[[policy]]\nname = 'mine'\n{words}\nkey = '{key}'\n");
    std::fs::write(&file, text).unwrap();
    let any = "tcp://127.0.0.1:0";
    let file = file.to_str().unwrap();
    let flags = ["registrar", "--asap", any, "--enrp", any, "--config", file];
    let mut registrar = Running::start(&[&flags[..], more].concat());
    let line = registrar.log("registrar started");
    let address = |key: &str| line[key].as_str().unwrap().to_owned();
    Scope { asap: address("asap"), enrp: address("enrp"), registrar }
}

#[test]
fn a_policy_of_one_s_own_orders_a_pool_and_another_text_is_refused_in_words() {
    let folder = own_folder("policies");
    // The most loaded first, and selections do not count.
    let scope = registrar_with(&folder, "registrar.toml", "0 - load", &[]);
    let file = folder.join("registrar.toml");
    let own = ["--policy", "mine", "--policies", file.to_str().unwrap(), "--load"];
    let servers: Vec<TcpListener> =
        [15, 16].map(own_address).into_iter().map(|at| TcpListener::bind(at).unwrap()).collect();
    let address = |server: usize| servers[server].local_addr().unwrap();
    let _idle = scope.element(address(0), &[&own[..], &["10%"]].concat());
    let _busy = scope.element(address(1), &[&own[..], &["90%"]].concat());
    for _ in 0..3 {
        let answer = scope.resolve("web");
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["elements"][0]["addresses"][0], address(1).to_string(), "{answer}");
        assert_eq!(answer["elements"][1]["addresses"][0], address(0).to_string(), "{answer}");
    }

    // A user that has never heard of the policy takes the first that it has not tried in vain.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let user = PoolUser::new(PoolUserConfig::new(vec![scope.asap.parse().unwrap()]));
        let handle = "web".parse().unwrap();
        let busy = user.pick(&handle, &[]).await.unwrap();
        assert_eq!(busy.user_transport, Transport::Tcp(address(1)));
        assert_eq!(user.pick(&handle, &[]).await.unwrap().id, busy.id);
        let idle = user.pick(&handle, &[busy.id]).await.unwrap();
        assert_eq!(idle.user_transport, Transport::Tcp(address(0)));
    });

    let other = folder.join("other.toml");
    std::fs::write(&other, "[[policy]]\nname = 'mine'\nwords = ['load']\nkey = 'load'\n").unwrap();
    let server = address(0).to_string();
    let flags = ["element", "web", "--tcp", &server, "--registrar", &scope.asap];
    let policy = ["--policy", "mine", "--policies", other.to_str().unwrap()];
    let refused = run(&[&flags[..], &policy[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("a policy by an expression") && said.contains("text 0x"), "{said}");
    assert!(said.contains("--policies"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn registrars_with_different_texts_do_not_select_each_other_s_elements_and_say_so() {
    let folder = own_folder("texts");
    let one = registrar_with(&folder, "one.toml", "load", &[]);
    let mut other = registrar_with(&folder, "other.toml", "load * 2", &["--peer", &one.enrp]);
    other.registrar.log("another registrar is there");
    let server = TcpListener::bind(own_address(17)).unwrap();
    let file = folder.join("one.toml");
    let own = ["--policy", "mine", "--policies", file.to_str().unwrap()];
    let _element = one.element(server.local_addr().unwrap(), &own);
    let line = other.registrar.log("the policy of this element is defined by another text at its registrar: it is not selected here");
    assert_eq!(line["handle"], "web");
    assert!(one.resolve("web").status.success());
    let refused = other.resolve("web");
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_expression_that_is_wrong_is_said_with_its_line_and_column() {
    let folder = own_folder("expression");
    let file = folder.join("registrar.toml");
    std::fs::write(&file, "[[policy]]\nname = 'mine'\nkey = 'age * (lod + 1)'\n").unwrap();
    let output = run(&["registrar", "--config", file.to_str().unwrap(), "--check-config"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("line 3: policy[1].key: line 1, column 8: there is no lod"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_load_that_a_command_says_is_registered_when_it_has_changed() {
    let folder = own_folder("load");
    let file = folder.join("load");
    std::fs::write(&file, "20%\n").unwrap();
    let scope = Scope::start();
    let mut watch = scope.watch();
    let server = TcpListener::bind(own_address(18)).unwrap();
    let source = format!("command:cat {}", file.display());
    let flags = ["--policy", "least-used", "--load-from", &source, "--load-interval", "100ms"];
    let _element = scope.element(server.local_addr().unwrap(), &flags);
    let load = |line: &serde_json::Value| line["element"]["policy"]["values"]["load"].as_u64();
    let share = |percent: u64| percent * u64::from(u32::MAX) / 100;
    watch.line(|line| load(line) == Some(share(20)));
    std::fs::write(&file, "80%\n").unwrap();
    watch.line(|line| load(line) == Some(share(80)));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn connections_through_a_proxy_are_the_load_of_a_server_that_was_adopted() {
    let scope = Scope::start();
    let mut watch = scope.watch();
    let server = TcpListener::bind(own_address(19)).unwrap();
    let flags = ["--load-from", "connections:4", "--load-interval", "100ms", "--policy"];
    let _element = scope.element(
        server.local_addr().unwrap(),
        &[&flags[..], &["least-used", "--check", "command:true"]].concat(),
    );
    let at = own_address(20).to_string();
    let _proxy = scope.proxy(&at);
    let load = |line: &serde_json::Value| line["element"]["policy"]["values"]["load"].as_u64();
    let share = |quarters: u64| quarters * u64::from(u32::MAX) / 4;
    watch.line(|line| load(line) == Some(0));
    let (clients, accepted): (Vec<_>, Vec<_>) =
        (0..3).map(|_| (TcpStream::connect(&at).unwrap(), server.accept().unwrap())).unzip();
    watch.line(|line| load(line) == Some(share(3)));
    drop((clients, accepted));
    watch.line(|line| load(line) == Some(0));
}

#[test]
fn a_proxy_takes_elements_of_a_policy_it_does_not_know_in_the_order_of_the_answer() {
    let folder = own_folder("proxied");
    // The most loaded first, and selections do not count.
    let scope = registrar_with(&folder, "registrar.toml", "0 - load", &[]);
    let file = folder.join("registrar.toml");
    let own = ["--policy", "mine", "--policies", file.to_str().unwrap(), "--check", "command:true"];
    let servers: Vec<TcpListener> =
        (21..25).map(|test| TcpListener::bind(own_address(test)).unwrap()).collect();
    let loads = ["10%", "90%", "30%", "60%"];
    let _elements: Vec<Running> = servers
        .iter()
        .zip(loads)
        .map(|(at, load)| {
            scope.element(at.local_addr().unwrap(), &[&own[..], &["--load", load]].concat())
        })
        .collect();
    let at = own_address(25).to_string();
    let _proxy = scope.proxy(&at);
    let _client = TcpStream::connect(&at).unwrap();
    // Connected to none of the others, it waits here.
    servers[1].accept().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// A folder of one test of this process.
fn own_folder(test: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("rserpool-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_scope_is_secured_by_a_few_commands_and_lets_nobody_in_who_has_no_certificate() {
    let folder = std::env::temp_dir().join(format!("rserpool-secured-{}", std::process::id()));
    let dir = folder.to_str().unwrap();
    let pki = |arguments: &[&str]| {
        let made = run(&[&["pki"], arguments, &["--dir", dir]].concat());
        assert!(made.status.success(), "{}", stderr(&made));
    };
    pki(&["init", "--scope", "lab"]);
    for role in ["registrar", "user", "operator"] {
        pki(&["issue", role]);
    }
    pki(&["issue", "element", "--pool", "web*"]);
    let certificate = |name: &str| folder.join(format!("{name}.pem")).display().to_string();
    let any = "tcp://127.0.0.1:0";
    let flags =
        ["registrar", "--asap", any, "--enrp", any, "--tls-cert", &certificate("registrar")];
    let mut registrar = Running::start(&flags);
    let line = registrar.log("registrar started");
    assert_eq!(line["secured"], true);
    let address = |key: &str| line[key].as_str().unwrap().to_owned();
    let scope = Scope { asap: address("asap"), enrp: address("enrp"), registrar };

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut element = scope.element(address, &["--tls-cert", &certificate("element")]);
    let list = |who: &[&str]| run(&[&["list", "--json", "--enrp", &scope.enrp], who].concat());
    let listed = list(&["--tls-cert", &certificate("operator")]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["pool"], &listed[0]["secured"]), (&"web".into(), &true.into()));
    assert_eq!(list(&[]).status.code(), Some(1));
    assert_eq!(list(&["--tls-cert", &certificate("user")]).status.code(), Some(1));
    let resolve = |who: &[&str]| {
        run(&[&["resolve", "web", "--registrar", &scope.asap], who].concat()).status.code()
    };
    assert_eq!(resolve(&["--tls-cert", &certificate("user")]), Some(0));
    assert_eq!(resolve(&[]), Some(1));
    element.signal(Signal::INT);
    assert!(element.wait().success());
    std::fs::remove_dir_all(folder).unwrap();
}
