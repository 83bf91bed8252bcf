//! The verbs of an OCI runtime, as `proxmox-lxcri` hands them on: each does its work and ends. `run`
//! and `exec` stay with what they started until that ends, unless they are told not to.

mod attend;
mod choice;
mod console;
mod descriptors;
mod error;
mod launch;
mod limits;
mod log;
mod lxc;
mod process;
mod show;
mod spec;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser as _;
use libcrun::{Runtime, Verbosity};
use oci_verbs::{CgroupManager, CommandLine, Global, LogLevel, Verb};

use choice::Chosen;
use descriptors::Inherited;
use error::{Error, Result};
use log::Log;
pub(crate) use lxc::keeper::{KEEPER, KeeperOrders, keep};
pub(crate) use lxc::{ENTRANCE, EntranceOrders, enter};

const STATE: &str = "proxmox-lxcri/oci";
/// Hooks may do anything, and nobody but who calls us knows how long is too long.
const FOR_EVER: Duration = Duration::from_secs(365 * 86400);

/// What every verb needs.
struct Context {
    runtime: Runtime,
    log: Rc<Log>,
    inherited: Inherited,
    /// Who is asked for.
    asked: oci_verbs::Runtime,
}

pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let words = std::iter::once("proxmox-lxcri".into()).chain(arguments);
    let line = match CommandLine::try_parse_from(words) {
        Ok(line) => line,
        Err(err) => {
            // Where nobody can read it, there is nobody to tell.
            err.print().ok();
            return u8::try_from(err.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // Before anything is opened: it would get a number that the container is to have.
    let inherited = Inherited::of(&line.verb);
    let log = match Log::open(&line.global) {
        Ok(log) => Rc::new(log),
        Err(err) => {
            Log::silent(&line.global).fail(&err);
            return ExitCode::FAILURE;
        }
    };
    let done = inherited.and_then(|inherited| {
        Context::new(&line.global, Rc::clone(&log), inherited)?.dispatch(&line.verb)
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            log.fail(&err);
            ExitCode::FAILURE
        }
    }
}

impl Context {
    fn new(global: &Global, log: Rc<Log>, inherited: Inherited) -> Result<Self> {
        let manager = global.manager();
        if manager == CgroupManager::Systemd {
            return Err(Error::Systemd);
        }
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            log.warn("NOTIFY_SOCKET is not passed on to the container");
        }
        let heard = Rc::clone(&log);
        let listener: libcrun::Listener = Rc::new(move |said: &str| heard.libcrun(said));
        let mut runtime = Runtime::new(global.root.clone().unwrap_or_else(state_root));
        runtime.timeout = FOR_EVER;
        runtime.no_cgroup = manager == CgroupManager::Disabled;
        runtime.verbosity = match global.level() {
            LogLevel::Error => Verbosity::Errors,
            LogLevel::Warning => Verbosity::Warnings(listener),
            LogLevel::Debug => Verbosity::Everything(listener),
        };
        Ok(Self { runtime, log, inherited, asked: global.runtime })
    }

    fn lxc(&self) -> lxc::Verbs<'_> {
        let state_root = &self.runtime.state_root;
        lxc::Verbs { state_root, log: &self.log, preserved: self.inherited.count() }
    }

    /// For a new container. Whom a container has that is there already, it keeps.
    fn choose(&self) -> Result<Chosen> {
        let probe = || self.runtime.features().map(drop).map_err(|err| crate::one_line(&err));
        let (chosen, reason) = choice::choose(self.asked, probe);
        if let Some(reason) = reason {
            self.log.tell(&reason);
        }
        if chosen == Chosen::Lxc && self.runtime.no_cgroup {
            return Err(Error::NotWithLxc("no cgroup"));
        }
        Ok(chosen)
    }

    /// Gives the exit code.
    fn dispatch(&self, verb: &Verb) -> Result<u8> {
        if let Some(code) = self.lxc().dispatch(verb)? {
            return Ok(code);
        }
        match verb {
            Verb::Create(create) => match self.choose()? {
                Chosen::Crun => launch::create(self, &create.bundle)?,
                Chosen::Lxc => lxc::create(&self.lxc(), &create.bundle)?,
            },
            Verb::Run(run) => {
                return match self.choose()? {
                    Chosen::Crun => launch::run(self, run),
                    Chosen::Lxc => lxc::run(&self.lxc(), run),
                };
            }
            Verb::Exec(exec) => return launch::exec(self, exec),
            Verb::Start(named) => self.runtime.start(named.id.as_str())?,
            Verb::State(named) => show::state(self, &named.id)?,
            Verb::Kill(kill) => {
                let (id, signal) = (kill.id.as_str(), kill.signal.number());
                if kill.all {
                    self.runtime.kill_all(id, signal)?;
                } else {
                    self.runtime.kill(id, signal)?;
                }
            }
            Verb::Delete(delete) => self.runtime.delete(delete.id.as_str(), delete.force)?,
            Verb::List(list) => show::list(self, list)?,
            Verb::Ps(ps) => show::ps(self, ps)?,
            Verb::Pause(named) => self.runtime.pause(named.id.as_str())?,
            Verb::Resume(named) => self.runtime.resume(named.id.as_str())?,
            Verb::Update(update) => limits::update(self, update)?,
            Verb::Features => match self.choose()? {
                Chosen::Crun => show::features(self)?,
                Chosen::Lxc => lxc::features()?,
            },
            Verb::Spec(spec) => spec::write(spec)?,
        }
        Ok(0)
    }
}

/// Where runc and crun have theirs, under our name.
fn state_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let run = own.filter(|_| !rustix::process::geteuid().is_root());
    run.map_or_else(|| "/run".into(), PathBuf::from).join(STATE)
}
