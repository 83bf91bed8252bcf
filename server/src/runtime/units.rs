//! Monitors as services of systemd, where that is process 1 and the root is the host's own: each in a
//! unit of its own, so that no end of the daemon, of its package or of its cgroup takes a container
//! along. On a PVE node a container of crun's is the service that PVE starts for it, told by a drop-in
//! for that one instance to run our monitor instead of `lxc-start`; all others keep theirs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use openapi::{NodeName, Vmid};
use pve_integration::layout::Root;
use pve_integration::{atomic, systemd};

use super::monitor::How;
use crate::programs::Programs;

/// Where packages put units; Debian 12's PVE still had the first.
const UNITS: [&str; 2] = ["lib/systemd/system", "usr/lib/systemd/system"];
const OWN: &str = "lxcri@";
const PVE: &str = "pve-container@";
const DROP_INS: &str = "etc/systemd/system";
const DROP_IN: &str = "lxcri.conf";
/// In a container's run directory, read by `lxcri@.service`.
const HOW: &str = "unit.env";
/// Where PVE's unit has what `lxc-start` says.
const PVE_STDERR: &str = "run/pve";

#[derive(Clone, Debug)]
pub(crate) struct Units {
    /// `/`, or what stands for it in a test.
    host: PathBuf,
    root: Root,
    node: NodeName,
    programs: Programs,
}

/// A service that is one container's monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Own(Vmid),
    Pve(Vmid),
}

impl Unit {
    pub(super) fn vmid(self) -> Vmid {
        match self {
            Self::Own(vmid) | Self::Pve(vmid) => vmid,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Own(vmid) => format!("{OWN}{vmid}.service"),
            Self::Pve(vmid) => format!("{PVE}{vmid}.service"),
        }
    }
}

impl Units {
    /// `None` where monitors are plain processes.
    pub(crate) fn of(root: &Root, node: &NodeName, programs: Programs) -> Option<Self> {
        let host = PathBuf::from("/");
        let ours = root.prefix() == host && systemd::runs();
        let units = Self { host, root: root.clone(), node: node.clone(), programs };
        ours.then_some(units)
    }

    /// Which one a container is, if any is installed for it.
    pub(super) fn of_guest(&self, vmid: Vmid, how: &How) -> Option<Unit> {
        if how.lxc_start.is_none() && self.on_pve() {
            return Some(Unit::Pve(vmid));
        }
        self.installed(OWN).then_some(Unit::Own(vmid))
    }

    /// Whether PVE starts containers here.
    pub(crate) fn on_pve(&self) -> bool {
        self.installed(PVE)
    }

    fn installed(&self, template: &str) -> bool {
        let file = format!("{template}.service");
        UNITS.iter().any(|folder| self.host.join(folder).join(&file).is_file())
    }

    /// Where what the unit's monitor says is to be found.
    pub(super) fn stderr(&self, unit: Unit) -> PathBuf {
        match unit {
            Unit::Own(vmid) => self.root.monitor_stderr(vmid),
            Unit::Pve(vmid) => self.host.join(PVE_STDERR).join(format!("ct-{vmid}.stderr")),
        }
    }

    /// Tells it what it is to run.
    pub(super) fn prepare(&self, unit: Unit, how: &How) -> io::Result<()> {
        forget(&self.stderr(unit))?;
        match unit {
            Unit::Own(vmid) => {
                fs_err::create_dir_all(self.root.guest_run(vmid))?;
                let (monitor, lxc) = match &how.lxc_start {
                    None => (&self.programs.crun, String::new()),
                    Some(start) => {
                        (&self.programs.lxc, format!(" --lxc-start {}", start.display()))
                    }
                };
                let debug = if how.debug { " --debug" } else { "" };
                let (monitor, node) = (monitor.display(), &self.node);
                let text =
                    format!("LXCRI_MONITOR={monitor}\nLXCRI_HOW=--node {node}{lxc}{debug}\n");
                atomic::write(&self.root.guest_run(vmid).join(HOW), 0o644, text.as_bytes())
            }
            Unit::Pve(vmid) => {
                let mark = self.root.debug_mark(vmid);
                if how.debug {
                    fs_err::create_dir_all(self.root.guest_run(vmid))?;
                    atomic::write(&mark, 0o644, b"")?;
                } else {
                    forget(&mark)?;
                }
                if self.write(vmid)? { self.reload() } else { Ok(()) }
            }
        }
    }

    /// Makes the drop-ins those of these containers, whose runtime is crun, and of no others.
    pub(crate) fn keep(&self, crun: &BTreeSet<Vmid>) -> io::Result<()> {
        let wanted = if self.on_pve() { crun.clone() } else { BTreeSet::new() };
        let mut changed = false;
        for vmid in self.written()?.difference(&wanted) {
            changed |= self.remove(*vmid)?;
        }
        for vmid in &wanted {
            changed |= self.write(*vmid)?;
        }
        if changed { self.reload() } else { Ok(()) }
    }

    /// The same for one container.
    pub(crate) fn keep_one(&self, vmid: Vmid, crun: bool) -> io::Result<()> {
        let wanted = crun && self.on_pve();
        let changed = if wanted { self.write(vmid)? } else { self.remove(vmid)? };
        if changed { self.reload() } else { Ok(()) }
    }

    fn written(&self) -> io::Result<BTreeSet<Vmid>> {
        let entries = match fs_err::read_dir(self.host.join(DROP_INS)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut found = BTreeSet::new();
        for entry in entries {
            let name = entry?.file_name();
            let vmid = name.to_str().and_then(|name| {
                name.strip_prefix(PVE)?.strip_suffix(".service.d")?.parse::<Vmid>().ok()
            });
            found.extend(vmid.filter(|vmid| self.drop_in(*vmid).exists()));
        }
        Ok(found)
    }

    fn drop_in(&self, vmid: Vmid) -> PathBuf {
        self.host.join(DROP_INS).join(format!("{PVE}{vmid}.service.d")).join(DROP_IN)
    }

    fn text(&self, vmid: Vmid) -> String {
        let (program, root) = (self.programs.crun.display(), self.root.prefix().display());
        format!(
            "# Written by proxmox-lxcri, as the runtime of CT {vmid} is crun; removed when that \
             changes.\n\
             [Service]\n\
             # Started is who runs: PVE's own lines say that only by LXC's command socket.\n\
             Type=notify\n\
             NotifyAccess=main\n\
             ExecStart=\n\
             ExecStart={program} run --root {root} --node {} %i\n",
            self.node
        )
    }

    /// Whether that changed anything.
    fn write(&self, vmid: Vmid) -> io::Result<bool> {
        let (path, text) = (self.drop_in(vmid), self.text(vmid));
        if fs_err::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(false);
        }
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        atomic::write(&path, 0o644, text.as_bytes())?;
        Ok(true)
    }

    /// Drop-ins of others stay, and so does their folder.
    fn remove(&self, vmid: Vmid) -> io::Result<bool> {
        let path = self.drop_in(vmid);
        match fs_err::remove_file(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            done => done?,
        }
        if let Some(folder) = path.parent() {
            match fs_err::remove_dir(folder) {
                Err(err) if err.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(err),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(true)
    }

    fn reload(&self) -> io::Result<()> {
        if self.host != Path::new("/") {
            return Ok(()); // no systemd of this process's concern
        }
        let output = systemctl(&["daemon-reload"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("systemctl daemon-reload: {}", words(&output))))
    }
}

/// Nothing of ours goes with it.
pub(super) fn systemctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.args(arguments).current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The first thing a program complained of.
pub(super) fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().next().map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())
}

fn forget(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(dir: &Path, templates: &[&str]) -> Units {
        let folder = dir.join(UNITS[1]);
        fs_err::create_dir_all(&folder).unwrap();
        for template in templates {
            fs_err::write(folder.join(format!("{template}.service")), "").unwrap();
        }
        let root = Root::new(dir).unwrap();
        let node = "pve1".parse().unwrap();
        let programs = Programs { crun: "/usr/libexec/m".into(), lxc: "/opt/lxc-m".into() };
        Units { host: dir.to_owned(), root, node, programs }
    }

    fn vmid(number: u32) -> Vmid {
        number.to_string().parse().unwrap()
    }

    #[test]
    fn pves_unit_is_for_crun_alone() {
        let dir = tempfile::tempdir().unwrap();
        let units = units(dir.path(), &[OWN, PVE]);
        let lxc = How { lxc_start: Some("/usr/bin/lxc-start".into()), debug: true };

        assert_eq!(units.of_guest(vmid(101), &How::default()), Some(Unit::Pve(vmid(101))));
        assert_eq!(units.of_guest(vmid(101), &lxc), Some(Unit::Own(vmid(101))));
    }

    #[test]
    fn drop_ins_are_those_of_the_containers_that_want_one() {
        let dir = tempfile::tempdir().unwrap();
        let units = units(dir.path(), &[PVE]);
        let of = |number| dir.path().join(format!("{DROP_INS}/{PVE}{number}.service.d"));
        fs_err::create_dir_all(of(103)).unwrap();
        fs_err::write(of(103).join("theirs.conf"), "").unwrap();

        units.keep(&[101, 102, 103].map(vmid).into()).unwrap();
        units.keep(&[102].map(vmid).into()).unwrap();

        let text = fs_err::read_to_string(of(102).join(DROP_IN)).unwrap();
        let start =
            format!("ExecStart=\nExecStart=/usr/libexec/m run --root {}", dir.path().display());
        assert!(text.contains(&start), "{text}");
        assert!(text.ends_with(" --node pve1 %i\n"), "{text}");
        assert!(!of(101).exists());
        assert!(of(103).join("theirs.conf").exists() && !of(103).join(DROP_IN).exists());
    }

    #[test]
    fn without_pve_there_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let units = units(dir.path(), &[OWN]);

        units.keep(&[vmid(101)].into()).unwrap();
        units.keep_one(vmid(101), true).unwrap();

        assert!(!dir.path().join(DROP_INS).exists());
    }

    #[test]
    fn our_unit_is_told_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let units = units(dir.path(), &[OWN]);
        let told = |how: &How| {
            units.prepare(Unit::Own(vmid(101)), how).unwrap();
            fs_err::read_to_string(units.root.guest_run(vmid(101)).join(HOW)).unwrap()
        };
        let lxc = How { lxc_start: Some("/usr/bin/lxc-start".into()), debug: true };

        assert_eq!(told(&How::default()), "LXCRI_MONITOR=/usr/libexec/m\nLXCRI_HOW=--node pve1\n");
        assert_eq!(
            told(&lxc),
            "LXCRI_MONITOR=/opt/lxc-m\nLXCRI_HOW=--node pve1 --lxc-start /usr/bin/lxc-start --debug\n"
        );
    }
}
