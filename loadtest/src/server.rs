//! Servers under test: one that runs already, or child processes that are started on their own core
//! and end with the value that owns them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use proto::app::Secret;
use rustix::process::{Signal, Uid, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_thread_uid};
use serde::Serialize;

use crate::dialect::{Credentials, Dialect};
use crate::door::Door;

/// How long a server may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(10);
/// The app of a started broker, with limits that no scenario reaches.
const APP: &str = r#"apps=[{id="loadtest",key="loadtest",secret="loadtest",limits={publishes_per_second=100000000,client_events_per_second=100000000,presence_members=10000000,connections=10000000,channels=10000000}}]"#;

/// A server to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing but the system calls: what no server can beat one event at a time.
    Bare,
    /// The broker.
    Handbell,
    /// One that was running already.
    #[value(skip)]
    Running,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Handbell => "handbell",
            Self::Running => "server",
        })
    }
}

/// Where a server is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// Its language.
    pub dialect: Dialect,
    /// Its process, if it may be looked at.
    pub pid: Option<u32>,
}

/// A child process that serves.
#[derive(Debug)]
pub struct Running {
    child: Child,
    target: Target,
}

impl Running {
    /// Starts a server, whose subscribers are to come in by this door, and waits until it accepts
    /// connections.
    ///
    /// # Errors
    /// If the program is not there, ends, or does not serve in time.
    pub fn start(
        (kind, door): (Kind, Door),
        program: Option<&PathBuf>,
        core: Option<usize>,
    ) -> anyhow::Result<Self> {
        let me = std::env::current_exe()?;
        let address = free_address()?;
        let mut command = Command::new(&me);
        command.arg("leash");
        if let Some(core) = core {
            command.arg("--core").arg(core.to_string());
        }
        let dialect = match kind {
            Kind::Bare => {
                command.arg("--").arg(&me).arg("bare");
                command.arg(address.to_string());
                Dialect::Bare
            }
            Kind::Handbell | Kind::Running => {
                let beside = me.with_file_name("handbell");
                command.arg("--").arg(program.unwrap_or(&beside));
                command.args(settings(address));
                Dialect::Pusher(started_app(), door)
            }
        };
        // Variables such as HANDBELL__… would configure the child.
        command.env_clear().stdin(Stdio::null());
        command.stdout(Stdio::null());
        let child = command.spawn().context("the server cannot be started")?;
        let target = Target { address, dialect, pid: Some(child.id()) };
        let mut running = Self { child, target };
        running.wait(kind)?;
        Ok(running)
    }

    /// Where it serves.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    fn wait(&mut self, kind: Kind) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(self.target.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the {kind} server ended while it started: {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("the {kind} server does not serve after {START_MAX:?}");
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(address: SocketAddr) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned()];
    let listen = format!("server.listen={address}");
    let drain = "drain.delay=0s";
    for setting in [&listen, "admin.listen=127.0.0.1:0", "log.level=warn", drain, APP] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    arguments
}

fn started_app() -> Credentials {
    Credentials {
        app_id: "loadtest".into(),
        key: "loadtest".into(),
        secret: Secret::new("loadtest"),
    }
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// Becomes another program, on one core and as another user if they are given, which is killed when
/// its parent ends: an interrupted load test leaves no server behind. Returns only if that fails.
#[must_use]
pub fn leash(core: Option<usize>, user: Option<u32>, program: &[String]) -> anyhow::Error {
    let become_it = || -> anyhow::Result<()> {
        let (name, arguments) = program.split_first().context("no program to run")?;
        if let Some(user) = user {
            // It takes the parent's death signal away, so it comes first.
            set_thread_uid(Uid::from_raw(user))?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(core) = core {
            pin(core)?;
        }
        let error = Command::new(name).args(arguments).exec();
        Err(error).with_context(|| format!("{name} cannot be run"))
    };
    match become_it() {
        Ok(()) => anyhow::anyhow!("exec returned"),
        Err(error) => error,
    }
}

/// Keeps the calling thread, and what it starts, on one core.
///
/// # Errors
/// The operating system's.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("core {core} cannot be used"))
}

/// The cores for the server and for the client, if there are two.
#[must_use]
pub fn two_cores() -> Option<(usize, usize)> {
    let set = sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
    Some((cores.next()?, cores.next()?))
}
