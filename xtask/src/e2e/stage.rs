//! The processes of a scenario: started, waited for, and always cleaned up.

use crate::steps::{Error, cargo};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::cell::Cell;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pool of all scenarios.
pub(super) const POOL: &str = "web";

/// What the scenarios run.
pub(super) struct Programs {
    rserpool: PathBuf,
    examples: [PathBuf; 2],
    nginx: PathBuf,
    hey: PathBuf,
    /// Ends a child when this task dies without cleaning up, where the system has it.
    setpriv: Option<PathBuf>,
}

impl Programs {
    /// Finds the servers and the load generator, and builds our own.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub(super) fn find(quick: bool) -> Result<Self, Error> {
        let (nginx, hey) = (find("nginx"), find("hey"));
        let (Some(nginx), Some(hey)) = (&nginx, &hey) else {
            let missing: Vec<_> = [("nginx", nginx.is_none()), ("hey", hey.is_none())]
                .into_iter()
                .filter_map(|(name, missing)| missing.then_some(name))
                .collect();
            return Err(format!(
                "{} is not installed; on Debian: apt-get install -y nginx-light hey",
                missing.join(" and ")
            )
            .into());
        };
        let [rserpool, examples @ ..] = build(quick)?;
        Ok(Self {
            rserpool,
            examples,
            nginx: nginx.clone(),
            hey: hey.clone(),
            setpriv: find("setpriv"),
        })
    }

    pub(super) fn hey(&self) -> &Path {
        &self.hey
    }
}

/// Builds `rserpool` and the examples of sessions, and says where they are.
fn build(quick: bool) -> Result<[PathBuf; 3], Error> {
    let mut command = cargo(["build", "--locked", "--package", "rserpool-cli", "--bins"]);
    command.args(["--package", "rserpool", "--example", "download", "--example", "compute"]);
    if !quick {
        command.arg("--release");
    }
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err("rserpool does not build".into());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executables: Vec<PathBuf> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .collect();
    let program = |name: &str| {
        let found = executables.iter().find(|path| path.file_stem().is_some_and(|it| it == name));
        found.cloned().ok_or_else(|| format!("cargo does not say where {name} is"))
    };
    Ok([program("rserpool")?, program("download")?, program("compute")?])
}

/// A program in the path, or where Debian has those of the administrator.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().map(|place| place.join(name)).find(|program| program.is_file())
}

/// A directory, a registrar, and what is started beside it.
pub(super) struct Stage<'p> {
    programs: &'p Programs,
    dir: PathBuf,
    keep: bool,
    numbers: Cell<u32>,
}

impl<'p> Stage<'p> {
    /// An empty directory for the scenario `name`.
    pub(super) fn new(programs: &'p Programs, name: &str, keep: bool) -> Result<Self, Error> {
        let dir = std::env::temp_dir().join(format!("rserpool-e2e-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self { programs, dir, keep, numbers: Cell::new(0) })
    }

    pub(super) fn programs(&self) -> &Programs {
        self.programs
    }

    /// Starts a program; what it writes goes to files named after it.
    pub(super) fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Running, Error> {
        self.numbers.set(self.numbers.get() + 1);
        let name = format!("{:02}-{name}", self.numbers.get());
        let (out, err) =
            (self.dir.join(format!("{name}.out")), self.dir.join(format!("{name}.err")));
        let mut command = match &self.programs.setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Running { name, child, ended: None, out, err })
    }

    /// Starts `rserpool` with these arguments.
    fn rserpool(&self, name: &str, arguments: &[&str]) -> Result<Running, Error> {
        self.start(name, &self.programs.rserpool, arguments)
    }

    /// Starts an example of the library.
    pub(super) fn example(
        &self,
        name: &str,
        registrar: &Registrar,
        arguments: &[&str],
    ) -> Result<Running, Error> {
        let is_it = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == name);
        let program =
            self.programs.examples.iter().find(is_it).ok_or("there is no such example")?;
        let registrar = format!("RSERPOOL_REGISTRAR={}", registrar.asap);
        let program = program.to_string_lossy();
        let arguments = [&[registrar.as_str(), &program], arguments].concat();
        self.start(name, Path::new("env"), &arguments)
    }

    /// A file in the directory of the scenario.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a registrar and waits until it serves. Its keep-alives follow `timers`.
    pub(super) fn registrar(&self, timers: &str) -> Result<(Running, Registrar), Error> {
        let asap = free_port()?;
        let registrar = Registrar { asap: format!("tcp://{asap}") };
        let enrp = format!("tcp://{}", free_port()?);
        let running = self.rserpool(
            "registrar",
            &["registrar", "--asap", &registrar.asap, "--enrp", &enrp, "--timers", timers],
        )?;
        until(PATIENCE, "the registrar serves", || std::net::TcpStream::connect(asap).is_ok())?;
        Ok((running, registrar))
    }

    /// Starts a proxy and waits until it listens.
    pub(super) fn proxy(&self, registrar: &Registrar) -> Result<(Running, SocketAddr), Error> {
        let listen = free_port()?;
        let running = self.rserpool(
            "proxy",
            &[
                "proxy",
                POOL,
                "--listen",
                &listen.to_string(),
                "--registrar",
                &registrar.asap,
                "--log-format",
                "json",
                "--log-level",
                "info,rserpool::proxy=debug",
            ],
        )?;
        until(PATIENCE, "the proxy listens", || std::net::TcpStream::connect(listen).is_ok())?;
        Ok((running, listen))
    }

    /// A place for an nginx of its own: one small page, one process, a free port.
    pub(super) fn server(&self) -> Result<Server, Error> {
        let address = free_port()?;
        let dir = self.dir.join(format!("nginx-{}", address.port()));
        fs::create_dir_all(dir.join("html"))?;
        fs::create_dir_all(dir.join("logs"))?;
        fs::write(dir.join("html/index.html"), format!("served by {address}\n"))?;
        fs::write(
            dir.join("nginx.conf"),
            format!(
                "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\n  access_log off; keepalive_requests 1000000;\n  \
                 client_body_temp_path tmp-body; proxy_temp_path tmp-proxy;\n  \
                 fastcgi_temp_path tmp-fastcgi; uwsgi_temp_path tmp-uwsgi; \
                 scgi_temp_path tmp-scgi;\n  \
                 server {{ listen {address}; root html; }}\n}}\n"
            ),
        )?;
        Ok(Server { address, dir, nginx: self.programs.nginx.clone() })
    }

    /// Starts a server through an adopter that supervises it, and waits until the pool has it.
    pub(super) fn element(&self, registrar: &Registrar, server: Server) -> Result<Element, Error> {
        let address = server.address.to_string();
        let mut arguments = vec!["element", POOL, "--tcp", &address];
        arguments.extend(["--registrar", &registrar.asap, "--check", "http:/"]);
        // nginx ends by QUIT after its last request. Connections kept alive never end by
        // themselves, so that it is of no use to wait for them longer than users come.
        arguments.extend(["--stop-signal", "quit", "--drain", "3s", "--"]);
        let command = server.command();
        arguments.extend(command.iter().map(String::as_str));
        let adopter = self.rserpool("element", &arguments)?;
        self.until_listed(registrar, &address)?;
        Ok(Element { adopter, server })
    }

    /// Adopts a server that runs already, with checks so rare that they find nothing.
    pub(super) fn adopt(
        &self,
        registrar: &Registrar,
        server: &Server,
        timers: &str,
    ) -> Result<Running, Error> {
        let address = server.address.to_string();
        let mut arguments = vec!["element", POOL, "--tcp", &address];
        arguments.extend(["--registrar", &registrar.asap, "--timers", timers]);
        arguments.extend(["--check", "tcp", "--check-interval", "60s"]);
        let adopter = self.rserpool("element", &arguments)?;
        self.until_listed(registrar, &address)?;
        Ok(adopter)
    }

    fn until_listed(&self, registrar: &Registrar, address: &str) -> Result<(), Error> {
        until(PATIENCE, "the pool has the element", || {
            self.answer(registrar).is_ok_and(|listed| listed.iter().any(|one| one == address))
        })
    }

    /// The addresses that the registrar answers now; an unknown pool has none.
    pub(super) fn answer(&self, registrar: &Registrar) -> Result<Vec<String>, Error> {
        self.answer_for(registrar, POOL)
    }

    /// The same of any pool.
    pub(super) fn answer_for(
        &self,
        registrar: &Registrar,
        pool: &str,
    ) -> Result<Vec<String>, Error> {
        let output = Command::new(&self.programs.rserpool)
            .args(["resolve", pool, "--registrar", &registrar.asap, "--items", "100", "--json"])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            if stderr.contains("knows no pool") {
                return Ok(Vec::new());
            }
            return Err(format!("rserpool resolve: {}", stderr.trim()).into());
        }
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let elements = answer["elements"].as_array().cloned().unwrap_or_default();
        let addresses = elements.iter().filter_map(|element| element["addresses"][0].as_str());
        Ok(addresses.map(str::to_owned).collect())
    }

    /// Prints the end of every log.
    pub(super) fn show_logs(&self) {
        let mut logs: Vec<PathBuf> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "err"))
            .collect();
        logs.sort();
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                eprintln!("-- {}", log.file_name().unwrap_or_default().to_string_lossy());
            }
            for line in lines.iter().skip(lines.len().saturating_sub(15)) {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // A server whose adopter was killed has nobody else to end it.
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if let Some(pid) = pid_of(&entry.path()) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if self.keep {
            eprintln!("logs are in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Where a registrar is.
pub(super) struct Registrar {
    asap: String,
}

/// An nginx of ours.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    dir: PathBuf,
    nginx: PathBuf,
}

impl Server {
    /// Starts it without an adopter.
    pub(super) fn start(&self, stage: &Stage<'_>) -> Result<Running, Error> {
        let command = self.command();
        let arguments: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
        let running = stage.start("nginx", &self.nginx, &arguments)?;
        until(PATIENCE, "nginx listens", || std::net::TcpStream::connect(self.address).is_ok())?;
        Ok(running)
    }

    /// Sends it a signal, whoever started it.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = pid_of(&self.dir).ok_or("nginx does not run")?;
        Ok(kill_process(pid, signal)?)
    }

    fn command(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        vec![path(&self.nginx), "-p".into(), path(&self.dir), "-c".into(), "nginx.conf".into()]
    }
}

/// The nginx that runs in a directory, by its pid file; only if it is that one.
fn pid_of(dir: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(dir.join("nginx.pid")).ok()?.trim().parse().ok()?;
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    // It shows itself as `nginx: master process nginx -p DIR ...` or as it was started.
    command.contains(dir.to_str()?).then(|| Pid::from_raw(pid)).flatten()
}

/// A server and its adopter.
pub(super) struct Element {
    adopter: Running,
    pub(super) server: Server,
}

impl Element {
    /// Asks the adopter to leave the pool and to stop its server, and waits for it.
    pub(super) fn stop(mut self) -> Result<Server, Error> {
        self.begin_to_stop()?;
        self.stopped()
    }

    /// Asks only.
    pub(super) fn begin_to_stop(&mut self) -> Result<(), Error> {
        self.adopter.signal(Signal::TERM)
    }

    /// Waits.
    pub(super) fn stopped(mut self) -> Result<Server, Error> {
        let status = self.adopter.wait(Duration::from_secs(30))?;
        if !status.success() {
            return Err(format!("{} ended with {status}", self.adopter.name).into());
        }
        if std::net::TcpStream::connect(self.server.address).is_ok() {
            return Err(format!("{} has left its server running", self.adopter.name).into());
        }
        Ok(self.server)
    }
}

/// A process; it is ended when this is dropped.
pub(super) struct Running {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        until(patience, &format!("{} ends", self.name), || self.ended().is_some())?;
        self.ended.ok_or_else(|| "it has not ended".into())
    }

    /// What it has written to stdout.
    pub(super) fn output(&self) -> Result<String, Error> {
        Ok(fs::read_to_string(&self.out)?)
    }

    /// Where its stderr goes.
    pub(super) fn log(&self) -> &Path {
        &self.err
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal(Signal::TERM);
        if self.wait(Duration::from_secs(8)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until something holds.
pub(super) fn until(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("waited {} s in vain until {what}", patience.as_secs()).into());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A port of loopback that nobody uses just now.
fn free_port() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

const PATIENCE: Duration = Duration::from_secs(10);
