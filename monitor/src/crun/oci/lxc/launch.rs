//! `create` and `run`: a bundle becomes a container of LXC's.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;

use fs_err as fs;
use jiff::Timestamp;
use oci_spec::runtime::Spec;
use oci_verbs::{Bundle, Run};
use pve_integration::lxc::from_bundle::{self, FromBundle, Host, Kind, Place};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde_json::Value;

use super::record::{self, CONFIG, Container, DEVICES, LOG, REPORT, Record, SECCOMP};
use super::terminal::Terminal;
use super::{Verbs, keeper};
use crate::crun::oci::attend::{Attendant, exit_code, write_pid_file};
use crate::crun::oci::error::{Error, Result};
use crate::crun::oci::process::Config;
use crate::entrypoint;
use crate::error::During as _;
use crate::namespace::is_cgroup2;

const PROGRAM: &str = "lxc-start";
/// Where Debian and a build from source put it, after `PATH`.
const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
/// How often it is looked whether the keeper is there at all.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

pub(crate) fn create(verbs: &Verbs<'_>, bundle: &Bundle) -> Result<()> {
    // What is typed on the caller's terminal must not leave half a container.
    let _signals = Attendant::new()?;
    Launch::new(verbs, bundle, true)?.create().map(drop)
}

pub(crate) fn run(verbs: &Verbs<'_>, run: &Run) -> Result<u8> {
    let attendant = Attendant::new()?;
    let launch = Launch::new(verbs, &run.bundle, run.detach)?;
    let Created { container, keeper, init, master } = launch.create()?;
    let started = verbs.start(&container);
    or_undo(verbs, &container, started)?;
    if run.detach {
        return Ok(0);
    }
    let ended = attendant.attend(Pid::from_child(&keeper), init, master);
    let ended = or_undo(verbs, &container, ended)?;
    if !run.keep {
        verbs.delete(&container, true)?;
    }
    Ok(exit_code(ended))
}

/// A container that did not get as far as it was asked to is none.
fn or_undo<T>(verbs: &Verbs<'_>, container: &Container, done: Result<T>) -> Result<T> {
    done.inspect_err(|_| {
        if let Err(err) = verbs.delete(container, true) {
            verbs.log.warn(&crate::one_line(&err));
        }
    })
}

struct Created {
    container: Container,
    /// Ends as the container does.
    keeper: Child,
    init: Pid,
    /// Of its terminal, if we are to show it.
    master: Option<OwnedFd>,
}

struct Launch<'a> {
    verbs: &'a Verbs<'a>,
    bundle: &'a Bundle,
    folder: PathBuf,
    config: Value,
    spec: Spec,
    lxc_start: PathBuf,
    terminal: Option<Terminal>,
}

impl<'a> Launch<'a> {
    fn new(verbs: &'a Verbs<'a>, bundle: &'a Bundle, detach: bool) -> Result<Self> {
        if bundle.no_pivot {
            return Err(Error::NotWithLxc("--no-pivot"));
        }
        let folder = fs::canonicalize(&bundle.bundle)?;
        // Relative to where we are, not to the bundle.
        let path = match &bundle.config {
            Some(path) => fs::canonicalize(path)?,
            None => folder.join("config.json"),
        };
        let config = Config::read(&path)?.into_value();
        let spec: Spec = serde_json::from_value(config.clone())
            .map_err(|source| Error::Json { path, source })?;
        let terminal = spec.process().as_ref().and_then(|process| process.terminal());
        let terminal = Terminal::of(terminal == Some(true), detach, &bundle.io)?;
        Ok(Self { verbs, bundle, folder, config, spec, lxc_start: find_lxc_start()?, terminal })
    }

    fn create(mut self) -> Result<Created> {
        let id = &self.bundle.id;
        let exists = || Error::AlreadyExists(id.to_string());
        if self.verbs.state_root.join(id.as_str()).exists() {
            return Err(exists());
        }
        let folder = record::folder(&std::path::absolute(self.verbs.state_root)?, id);
        if let Some(above) = folder.parent() {
            fs::create_dir_all(above)?;
        }
        // A container's root goes through it to its device nodes.
        match rustix::fs::mkdir(&folder, Mode::from_raw_mode(0o711)) {
            Err(Errno::EXIST) => return Err(exists()),
            made => made.during("cannot make a folder for the container")?,
        }
        // Whatever our umask is.
        for path in [Some(folder.as_path()), folder.parent()].into_iter().flatten() {
            rustix::fs::chmod(path, Mode::from_raw_mode(0o711))
                .during("cannot open the container's folder for its root")?;
        }
        let terminal = self.terminal.take();
        let container = self.prepare(&folder).inspect_err(|_| {
            // Its parent may have others.
            fs::remove_dir_all(&folder).ok();
            folder.parent().map(fs::remove_dir);
        })?;
        let created = self.begin(&container, terminal);
        let (keeper, init, master) = or_undo(self.verbs, &container, created)?;
        Ok(Created { container, keeper, init, master })
    }

    /// All files of it.
    fn prepare(&self, folder: &Path) -> Result<Container> {
        let id = self.bundle.id.as_str();
        let (seccomp, devices) = (folder.join(SECCOMP), folder.join(DEVICES));
        let log = folder.join(LOG);
        let place = Place {
            id,
            bundle: &self.folder,
            seccomp: &seccomp,
            log: &log,
            devices: &devices,
            gate: &record::gate_command(folder)?,
            new_keyring: !self.bundle.no_new_keyring,
        };
        let made = from_bundle::config(&self.spec, &place, &host()?);
        let made = made.map_err(crate::error::Error::from)?;
        for warning in &made.warnings {
            self.verbs.log.warn(&format!("{}: {}", warning.key, warning.reason));
        }
        self.look_for_program(&made)?;
        // At its end all in its cgroup is killed, so that must be nobody else's.
        if let Some(taken) = record::cgroup_at(&made.cgroup)?.existing() {
            return Err(Error::CgroupExists(taken));
        }
        record::private(&folder.join(CONFIG), made.text.as_bytes())?;
        if let Some(profile) = &made.seccomp {
            record::private(&seccomp, profile.as_bytes())?;
        }
        let uid = nix::unistd::getuid();
        let record = Record {
            bundle: self.folder.clone(),
            rootfs: made.rootfs,
            cgroup: made.cgroup,
            created: format!("{:.6}", Timestamp::now()),
            owner: nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name),
            lxc_start: self.lxc_start.clone(),
            command: made.command,
            nodes: made.nodes,
        };
        Container::make(folder, id, &self.config, record)
    }

    /// LXC would find out when all else has been done. What a mount brings cannot be seen from here.
    fn look_for_program(&self, made: &FromBundle) -> Result<()> {
        let bound = |mount: &oci_spec::runtime::Mount| {
            let mut options = mount.options().iter().flatten();
            mount.typ().as_deref() == Some("bind")
                || options.any(|option| option == "bind" || option == "rbind")
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let rootfs = rustix::fs::open(&made.rootfs, flags, Mode::empty()).map_err(|errno| {
            crate::error::Error::Open { path: made.rootfs.clone(), source: errno.into() }
        })?;
        if self.spec.mounts().iter().flatten().any(bound) {
            return Ok(());
        }
        let Some(process) = self.spec.process() else { return Ok(()) };
        entrypoint::find(rootfs.as_fd(), process).map_err(Error::Program)
    }

    /// Until the container is there and waits at its gate.
    fn begin(
        &self,
        container: &Container,
        terminal: Option<Terminal>,
    ) -> Result<(Child, Pid, Option<OwnedFd>)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let report = rustix::fs::open(container.file(REPORT), flags, Mode::empty())
            .during("cannot open a fifo")?;
        let mut command = keeper::command(container, self.verbs.preserved, terminal.is_some());
        if let Some(terminal) = &terminal {
            terminal.give(&mut command)?;
        }
        let mut keeper = command.spawn().during("cannot make a process for the container")?;
        let reason = listen(report, &mut keeper)?;
        if !reason.is_empty() {
            return Err(Error::Said(reason));
        }
        let init = container.init().ok_or(Error::NoPid)?;
        let master = terminal.map(Terminal::hand_over).transpose()?.flatten();
        write_pid_file(&self.bundle.io, init)?;
        Ok((keeper, init, master))
    }
}

/// What the keeper says: nothing, when all is well.
fn listen(report: OwnedFd, keeper: &mut Child) -> Result<String> {
    loop {
        let mut fds = [PollFd::new(&report, PollFlags::IN)];
        let count = poll(&mut fds, Some(&LOOK)).during("cannot wait for the container")?;
        // It may have ended before it could say anything.
        if count > 0 || keeper.try_wait()?.is_some() {
            break;
        }
    }
    let mut said = String::new();
    rustix::io::ioctl_fionbio(&report, false).during("cannot listen to the container")?;
    std::fs::File::from(report).read_to_string(&mut said)?;
    match said.strip_suffix('\n') {
        Some(reason) => Ok(reason.to_owned()),
        None => Err(Error::NoPid),
    }
}

fn host() -> Result<Host> {
    let facts = pve_integration::host::HostFacts::read()?;
    Ok(Host {
        cgroup2: is_cgroup2(Path::new("/sys/fs/cgroup")),
        apparmor: facts.apparmor.is_some(),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        seccomp: facts.seccomp,
        look: |path| {
            let kind = |found: std::fs::Metadata| {
                if found.is_dir() { Kind::Folder } else { Kind::Other }
            };
            std::fs::metadata(path).ok().map(kind)
        },
    })
}

fn find_lxc_start() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_absolute() && program.is_file())
        .ok_or(Error::NoLxc)
}
