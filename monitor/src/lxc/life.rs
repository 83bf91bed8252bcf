//! One life of a container under LXC: config to files, `lxc-start`, and what is known of init.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;
use lxc_protocol::client::Client;
use pve_integration::lxc::{self, Files, Installed};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};

use super::{CHILD, CONFIG, LOG, OOM, SECCOMP};
use crate::cleanup::remove;
use crate::devices::Devices;
use crate::entrypoint;
use crate::error::{During, Error, Result};
use crate::given::Given;
use crate::guest::{Guest, warn};
use crate::output::{Log, Output};
use crate::rootfs::Rootfs;
use crate::run::{Began, give_to_user};

/// What is to be started; its files are written.
pub(super) struct Plan {
    command: Vec<String>,
    debug: bool,
    /// Bound by LXC when it starts the container.
    devices: Devices,
    /// The container's end of the pipe and ours, unless LXC makes it a terminal.
    pipe: Option<(OwnedFd, OwnedFd)>,
}

pub(super) fn plan(guest: &Guest, given: &Given, rootfs: &Rootfs) -> Result<Plan> {
    let Given { config, found, maps } = given;
    let run = guest.root.guest_run(guest.vmid);
    let (log, seccomp, oom) =
        (guest.root.container_log(guest.vmid), run.join(SECCOMP), run.join(OOM));
    let terminal = config.has_terminal();
    let devices = Devices::make(guest, given, rootfs)?;
    let described = found.guest(config, rootfs.path(), devices.nodes(), &[]);
    let files = Files { log: &log, seccomp: &seccomp, oom: &oom };
    let made = lxc::config(&described, &found.facts, &Installed::read(config), files)?;
    for warning in &made.warnings {
        warn(&warning.key, &warning.reason);
    }
    if let Some(process) = made.spec.process() {
        entrypoint::check(rootfs.open()?.as_fd(), process)?;
    }
    remove(&run.join(LOG))?;
    remove(&oom)?;
    write(&run.join(CONFIG), &made.text)?;
    if let Some(profile) = &made.seccomp {
        write(&seccomp, profile)?;
    }
    if terminal {
        prepare_log(&log)?;
    }
    let pipe = if terminal {
        None
    } else {
        let (source, writer) = pipe_with(PipeFlags::CLOEXEC)
            .during("cannot make a pipe for the container's output")?;
        give_to_user(&writer, &made.spec, maps)
            .during("cannot give the output pipe to the container's user")?;
        rustix::io::ioctl_fionbio(&source, true).during("cannot prepare the output pipe")?;
        Some((writer, source))
    };
    Ok(Plan { command: made.command, debug: made.debug || guest.debug, pipe, devices })
}

/// Made anew at each start and read once, so it needs no sync; the environment may hold secrets.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let opened = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    opened.map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// LXC would make it for root alone.
fn prepare_log(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o640).open(path);
    opened.map(drop).map_err(|source| Error::Open { path: path.to_owned(), source })
}

pub(super) struct Life {
    pub(super) began: Began,
    pub(super) output: Option<Output>,
    /// Whether LXC's log is to be told.
    pub(super) debug: bool,
    /// Whether LXC said that init runs.
    pub(super) ran: bool,
    lxc_start: Pid,
    init: Option<(Pid, OwnedFd)>,
    /// Held until then.
    _devices: Devices,
}

impl Life {
    pub(super) fn begin(guest: &Guest, program: &Path, plan: Plan) -> Result<Self> {
        let run = guest.root.guest_run(guest.vmid);
        let mut command = Command::new("/proc/self/exe");
        command.arg(CHILD).arg("--parent").arg(std::process::id().to_string()).arg(program);
        command.args(["--", "-F", "-q", "-n"]).arg(guest.name());
        command.args(["-l", if plan.debug { "DEBUG" } else { "ERROR" }, "-o"]).arg(run.join(LOG));
        command.arg("-P").arg(guest.root.lxc_path()).arg("-f").arg(run.join(CONFIG));
        if !plan.command.is_empty() {
            command.arg("--").args(&plan.command);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut output = None;
        if let Some((writer, source)) = plan.pipe {
            command.stdout(writer.try_clone()?).stderr(writer);
            output = Some(Output::pipe(source, Log::new(guest.root.container_log(guest.vmid))));
        }
        let began = Began::now();
        let child = command.spawn().during("cannot make a process for lxc-start")?;
        let lxc_start = Pid::from_child(&child);
        Ok(Self {
            began,
            output,
            debug: plan.debug,
            ran: false,
            lxc_start,
            init: None,
            _devices: plan.devices,
        })
    }

    /// Of `lxc-start`.
    pub(super) fn pid(&self) -> Pid {
        self.lxc_start
    }

    pub(super) fn init(&self) -> Option<Pid> {
        self.init.as_ref().map(|(pid, _)| *pid)
    }

    /// LXC says so; it may have ended since.
    pub(super) fn runs(&mut self, guest: &Guest) {
        self.ran = true;
        let client = Client::new(&guest.root.lxc_path(), &guest.name());
        let pid = client.init_pid().ok().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        self.init = pid.zip(client.init_pidfd().ok());
    }

    pub(super) fn kill(&self) {
        // Whichever it is may be gone already, which is what was wanted.
        match &self.init {
            Some((_, pidfd)) => pidfd_send_signal(pidfd, Signal::KILL).ok(),
            None => kill_process(self.lxc_start, Signal::KILL).ok(),
        };
    }
}
