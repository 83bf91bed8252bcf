//! One life of the container: config to bundle, libcrun's create and start, and what is known of its
//! first process while it runs. A reboot from inside is another life in the same monitor.

use fs_err::os::unix::fs::OpenOptionsExt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use fs_err as fs;
use libcrun::{Stdio, Verbosity};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use pve_integration::bundle::{self, Bundle, Node};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::console::ConsoleSocket;
use super::mknod;
use super::ttys::Ttys;
use crate::apparmor;
use crate::cgroup::Cgroup;
use crate::devices::Devices;
use crate::error::{During, Result};
use crate::given::Given;
use crate::guest::{Guest, tell, warn};
use crate::lease::keepers::Keepers;
use crate::net;
use crate::output::{Log, Output};
use crate::rootfs::Rootfs;
use crate::run::{Began, give_to_user};

#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) began: Began,
    pub(crate) init: libcrun::Process,
    pub(crate) pidfd: OwnedFd,
    /// CLONE_NEW* of the namespaces it has of its own.
    pub(crate) clone_flags: u32,
    /// The `lxc.*` values in force that LXC's tools ask for.
    pub(crate) items: Vec<(&'static str, String)>,
    pub(crate) output: Output,
    pub(crate) ttys: Ttys,
    /// Of those of its addresses that a server gives.
    pub(crate) keepers: Keepers,
    /// Of `features: mknod=1`.
    pub(crate) mknod: Option<mknod::Handler>,
}

impl Container {
    /// Run it. What was made before an error stays: the caller cleans up in any case.
    pub(crate) fn start(
        guest: &Guest,
        given: &Given,
        cgroup: &Cgroup,
        rootfs: &Rootfs,
    ) -> Result<Self> {
        let Given { config, maps, .. } = given;
        let terminal = config.has_terminal();
        let network = net::plan(guest, config)?;
        for warning in &network.warnings {
            warn(&warning.key, &warning.reason);
        }
        let connect =
            |init| net::set_up(guest, &network, init).map_err(|err| crate::one_line(&err));
        let devices = Devices::make(guest, given, rootfs)?;
        let ttys = Ttys::open(config.ttys()?, maps)?;
        let bundle = write_bundle(guest, given, rootfs.path(), devices.nodes(), &ttys.paths())?;
        cgroup.limit(&bundle.limits)?;
        let spec = bundle.spec;
        // Listens before libcrun connects to it.
        let mknod = asks(&spec).then(|| mknod::Handler::start(guest)).transpose()?;

        let mut runtime = super::runtime(guest);
        if guest.debug || config.get("debug") == Some("1") {
            runtime.verbosity = Verbosity::Everything(Rc::new(tell));
        }
        let talks = matches!(runtime.verbosity, Verbosity::Everything(_));
        let heard = |err: libcrun::Error| {
            // Of a call that failed the error has what was said.
            if talks {
                tell(&err.log);
            }
            err
        };
        let (name, bundle) = (guest.name(), guest.root.bundle(guest.vmid));
        let run =
            |io: &Stdio| runtime.create_and_start_with(&name, &bundle, io, connect).map_err(heard);
        let log = Log::new(guest.root.container_log(guest.vmid));
        let began = Began::now();
        let (init, output) = if terminal {
            let socket = ConsoleSocket::bind(&bundle)?;
            let io = Stdio { console_socket: Some(socket.path().to_owned()), ..Stdio::default() };
            let init = run(&io)?;
            (init, Output::pty(socket.receive()?, log))
        } else {
            let (source, writer) = pipe_with(PipeFlags::CLOEXEC)
                .during("cannot make a pipe for the container's output")?;
            give_to_user(&writer, &spec, maps)
                .during("cannot give the output pipe to the container's user")?;
            rustix::io::ioctl_fionbio(&source, true).during("cannot prepare the output pipe")?;
            let io = Stdio {
                stdout: Some(writer.try_clone()?),
                stderr: Some(writer),
                ..Stdio::default()
            };
            (run(&io)?, Output::pipe(source, log))
        };
        drop(devices); // bound by now
        // Also works for one that has ended already: it is our child and not yet waited for.
        let pidfd = pidfd_open(init.pid, PidfdFlags::empty())
            .during("cannot watch the container's init")?;
        let keepers = Keepers::start(guest, config, &network.leases, pidfd.as_fd())?;
        Ok(Self {
            began,
            pidfd,
            clone_flags: clone_flags(&spec),
            items: items(&spec, rootfs.path()),
            output,
            ttys,
            keepers,
            mknod,
            init,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.init.pid
    }

    pub(crate) fn kill(&self) {
        // It may be gone already, which is what was wanted.
        rustix::process::pidfd_send_signal(self.pidfd.as_fd(), rustix::process::Signal::KILL).ok();
    }
}

fn write_bundle(
    guest: &Guest,
    given: &Given,
    rootfs: &Path,
    nodes: &[Node],
    ttys: &[String],
) -> Result<Bundle> {
    let Given { config, found, .. } = given;
    let bundle = bundle::spec(&found.guest(config, rootfs, nodes, ttys), &found.facts)?;
    for warning in &bundle.warnings {
        warn(&warning.key, &warning.reason);
    }
    // Made anew at each start and read once, so it needs no sync; the environment may hold secrets.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(guest.config_json())?;
    std::io::Write::write_all(&mut file, bundle::to_json(&bundle.spec).as_bytes())?;
    if let Some(profile) = &bundle.profile {
        apparmor::load(guest, profile)?;
    }
    Ok(bundle)
}

/// Whether the kernel is to ask somebody about system calls.
fn asks(spec: &Spec) -> bool {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    seccomp.is_some_and(|seccomp| seccomp.listener_path().is_some())
}

/// include/uapi/linux/sched.h
fn clone_flags(spec: &Spec) -> u32 {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().fold(0, |flags, namespace| {
        flags
            | match namespace.typ() {
                LinuxNamespaceType::Time => 0x0000_0080,
                LinuxNamespaceType::Mount => 0x0002_0000,
                LinuxNamespaceType::Cgroup => 0x0200_0000,
                LinuxNamespaceType::Uts => 0x0400_0000,
                LinuxNamespaceType::Ipc => 0x0800_0000,
                LinuxNamespaceType::User => 0x1000_0000,
                LinuxNamespaceType::Pid => 0x2000_0000,
                LinuxNamespaceType::Network => 0x4000_0000,
            }
    })
}

fn items(spec: &Spec, rootfs: &Path) -> Vec<(&'static str, String)> {
    let mut items = vec![("lxc.rootfs.path", rootfs.display().to_string())];
    if let Some(hostname) = spec.hostname() {
        items.push(("lxc.uts.name", hostname.clone()));
    }
    let Some(linux) = spec.linux() else { return items };
    let lines =
        [("u", linux.uid_mappings()), ("g", linux.gid_mappings())].map(|(kind, mappings)| {
            let line = |map: &oci_spec::runtime::LinuxIdMapping| {
                format!("{kind} {} {} {}\n", map.container_id(), map.host_id(), map.size())
            };
            mappings.iter().flatten().map(line).collect::<String>()
        });
    let idmap = lines.concat();
    if !idmap.is_empty() {
        items.push(("lxc.idmap", idmap));
    }
    items
}
