//! The verb `run --lxc-start`: a container under LXC. The same preparing and cleaning up as under
//! libcrun; in between `lxc-start` is init's parent and answers on the command socket. We are its
//! parent, hold its output, and hear how it goes over the fifo that LXC has for `lxc-monitord`.

mod life;
pub(crate) mod log;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use lxc_protocol::State;
use lxc_protocol::notify::{self, Inbox};
use lxc_protocol::server::Listener;
use lxc_protocol::wire::Message;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use pve_integration::exit::ExitRecord;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::cgroup::{Cgroup, counts_oom_kill};
use crate::error::{During, Error, Result};
use crate::given::Given;
use crate::guest::{Guest, warn};
use crate::rootfs::{Purpose, Rootfs, refuse_odd_directories};
use crate::run::{Began, epoch_seconds, reap};
use crate::setup::{self, Runtime};
use crate::{cleanup, lxc_tools, namespace, run, unblocked};
use life::Life;

/// The hidden verb of the child that becomes `lxc-start`.
pub(crate) const CHILD: &str = "lxc-child";
/// Names in the container's run directory.
pub(crate) const CONFIG: &str = "lxc.conf";
pub(crate) const SECCOMP: &str = "lxc.seccomp";
pub(crate) const OOM: &str = "lxc.oom";
/// What LXC says of its own doings; stays until the next start.
const LOG: &str = "lxc.log";

pub(crate) fn run(guest: &Guest, program: &Path) -> Result<()> {
    let signals = run::stand_apart()?;
    let guard = guest.bind_guard()?;
    // Nobody else has it, and nobody gets it before `lxc-start` does.
    let command = guest.bind_command()?;
    namespace::enter()?;
    let cgroup = Cgroup::of(guest)?;
    let watch = Watch { guest, cgroup: &cgroup, signals: &signals, news: News::of(guest)? };

    let (mut rootfs, mut record) = (None, ExitRecord::default());
    let outcome = watch.live(program, command, &mut rootfs, &mut record);
    if let Err(err) = &outcome {
        record.error = Some(crate::one_line(err));
    }
    let ended = cleanup::end_processes(guest, &cgroup, || drop(run::reap_all()));
    let unmounted = rootfs.map_or(Ok(()), Rootfs::unmount);
    let cleaned = cleanup::remove_files(guest);
    record.endtime = epoch_seconds();
    record.unheard = true;
    let recorded = record.write(&guest.root.exit_record(guest.vmid));

    // From here on a new monitor may start, so nothing of ours may be left.
    drop(guard);
    watch.news.tell(guest, &Message::State(State::Stopped));
    outcome?;
    ended?;
    unmounted?;
    cleaned?;
    recorded?;
    Ok(())
}

/// What LXC says of this container, and who is told.
struct News {
    inbox: Inbox,
    /// The host's own `/run/lxc`, which we cover with one for us alone.
    host: OwnedFd,
}

impl News {
    fn of(guest: &Guest) -> Result<Self> {
        let (inbox, host) = listen(&guest.root.lxc_path())?;
        Ok(Self { inbox, host })
    }

    /// Pass it on to `lxc-monitord`. That it cannot be told changes nothing for the container.
    fn tell(&self, guest: &Guest, message: &Message) {
        let run = format!("/proc/self/fd/{}", self.host.as_raw_fd());
        let (path, name) = (guest.root.lxc_path(), guest.name());
        if let Err(err) = notify::send_below(Path::new(&run), &path, &name, message) {
            warn("lxc-monitord", &err.to_string());
        }
    }
}

struct Watch<'a> {
    guest: &'a Guest,
    cgroup: &'a Cgroup,
    signals: &'a SignalFd,
    news: News,
}

impl Watch<'_> {
    /// Start, watch, and start again as often as the container reboots. `record` and `rootfs` hold
    /// what is known and made so far when this fails.
    fn live(
        &self,
        program: &Path,
        command: Listener,
        rootfs: &mut Option<Rootfs>,
        record: &mut ExitRecord,
    ) -> Result<()> {
        let guest = self.guest;
        record.starttime = epoch_seconds();
        run::prepare_run_dir(guest)?;
        cleanup::leftovers(guest, self.cgroup, || drop(run::reap_all()))?;
        let given = Given::read(guest, self.cgroup, Runtime::Lxc)?;
        lxc_tools::show(guest, &given.config)?;
        let purpose = Purpose::Run(&given.maps);
        let mounted = rootfs.insert(Rootfs::mount(guest, &given.config, purpose)?);
        refuse_odd_directories(mounted.open()?.as_fd())?;

        setup::before_start(guest, &given, mounted.path(), Runtime::Lxc)?;
        let mut plan = life::plan(guest, &given, mounted)?;
        drop(command);
        let maps = given.maps;
        let mut told = false;
        loop {
            let mut life = Life::begin(guest, program, plan)?;
            let status = self.supervise(&mut life, &mut told)?;
            *record = self.record_of(&life, status);
            if status.signal() != Some(Signal::SIGHUP as i32) {
                return Ok(());
            }
            // Applying changes may take volumes, which are the daemon's: it starts us again.
            if run::read_config(guest)?.pending().is_some() {
                record.reboot = true;
                return Ok(());
            }
            cleanup::end_processes(guest, self.cgroup, || drop(run::reap_all()))?;
            std::thread::sleep(run::SHORTEST_LIFE.saturating_sub(life.began.instant.elapsed()));
            // Its device nodes are where the next life's will be.
            drop(life);
            // Read anew: what was changed and applied meanwhile takes effect.
            let given = Given::read(guest, self.cgroup, Runtime::Lxc)?;
            if given.maps != maps {
                // What is mounted has the ids of the first life.
                record.reboot = true;
                return Ok(());
            }
            setup::before_start(guest, &given, mounted.path(), Runtime::Lxc)?;
            plan = life::plan(guest, &given, mounted)?;
        }
    }

    /// Until `lxc-start` ends; how the container's init did.
    fn supervise(&self, life: &mut Life, told: &mut bool) -> Result<ExitStatus> {
        let mut status = None;
        loop {
            let (signalled, wrote) = self.wait(life)?;
            // What it said before it ended is there when its end is.
            let ended = reap(life.pid())?.is_some();
            while let Some(message) = self.news.inbox.next().during("cannot listen to LXC")? {
                match message {
                    Message::State(State::Running) if !*told => {
                        life.runs(self.guest);
                        if life.debug {
                            log::tell_all(&log::path(self.guest));
                        }
                        run::say_running(life.init())?;
                        *told = true;
                    }
                    Message::State(State::Running) => life.runs(self.guest),
                    Message::State(_) => {}
                    Message::ExitCode(raw) => status = Some(ExitStatus::from_raw(raw)),
                }
                // The end is the end when we have cleaned up.
                if message != Message::State(State::Stopped) {
                    self.news.tell(self.guest, &message);
                }
            }
            if wrote && let Some(output) = &mut life.output {
                output.copy_some(|_| ());
            }
            if signalled && self.asked_to_end() {
                self.kill(life);
            }
            if ended {
                break;
            }
        }
        if let Some(output) = &mut life.output {
            output.drain(|_| ());
        }
        match status {
            Some(status) if life.ran => Ok(status),
            Some(_) | None => {
                if life.debug {
                    log::tell_all(&log::path(self.guest));
                }
                Err(Error::Lxc(log::first_error(&log::path(self.guest))))
            }
        }
    }

    /// Whether there were signals, and whether there is output.
    fn wait(&self, life: &Life) -> Result<(bool, bool)> {
        let input = PollFlags::IN;
        let mut fds = vec![PollFd::new(self.signals, input), PollFd::new(&self.news.inbox, input)];
        let source = life.output.as_ref().and_then(crate::output::Output::source);
        fds.extend(source.iter().map(|source| PollFd::new(source, input)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err).during("cannot wait for events"),
        }
        let has_event = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok((has_event(&fds[0]), fds.get(2).is_some_and(has_event)))
    }

    fn asked_to_end(&self) -> bool {
        let mut terminate = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            terminate |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        terminate
    }

    fn kill(&self, life: &Life) {
        life.kill();
        // A frozen process does not die. That there is no freezer is no reason to worry then.
        self.cgroup.thaw().ok();
    }

    fn record_of(&self, life: &Life, status: ExitStatus) -> ExitRecord {
        let Began { epoch, instant } = life.began;
        let oom = self.guest.root.guest_run(self.guest.vmid).join(OOM);
        let failed = status.code().is_some_and(|code| code != 0);
        let error = if failed { log::exec_failure(&log::path(self.guest)) } else { None };
        if let Some(line) = &error {
            warn("entrypoint", line);
        }
        ExitRecord {
            starttime: epoch,
            endtime: epoch_seconds(),
            duration_ms: u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX),
            exit_code: status.code(),
            signal: status.signal(),
            oom_killed: counts_oom_kill(&oom),
            error,
            ..ExitRecord::default()
        }
    }
}

/// Cover `/run/lxc` in our mount namespace, which nobody else sees: what `lxc-start` says of containers
/// at `lxcpath` comes to us. The second one is the host's own folder.
pub(crate) fn listen(lxcpath: &Path) -> Result<(Inbox, OwnedFd)> {
    let what = "cannot listen to LXC";
    fs_err::create_dir_all(notify::RUN)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open(notify::RUN, flags, Mode::empty()).during(what)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("lxcri", notify::RUN, "tmpfs", flags, c"size=1m,mode=700").during(what)?;
    if let Some(folder) = notify::fifo_path(lxcpath).parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok((Inbox::make(lxcpath).during(what)?, host))
}

/// In the child: what is ours and not LXC's is undone, then it is `lxc-start`. A `parent` that ends
/// takes it along, as nobody would clean up after it. With `terminal`, that is its standard input.
pub(crate) fn become_lxc_start(
    parent: i32,
    terminal: bool,
    program: &Path,
    arguments: &[OsString],
) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .during("cannot die with the monitor")?;
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if now != parent {
        return Err(Error::Lxc("the monitor has ended".to_owned()));
    }
    if terminal {
        let what = "cannot give LXC its terminal";
        rustix::process::setsid().during(what)?;
        rustix::process::ioctl_tiocsctty(std::io::stdin()).during(what)?;
    }
    // Blocked here, they would be blocked in the container's init.
    unblocked::exec(Command::new(program).args(arguments))
}
