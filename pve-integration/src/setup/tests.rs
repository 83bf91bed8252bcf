//! A small root of each distribution, what becomes of its files, and that a second start changes
//! nothing more. Together the snapshots specify the set-up.

use std::collections::BTreeMap;
use std::io;

use rstest::rstest;

use super::*;
use crate::ct_config::ContainerConfig;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    File(String, Option<u32>),
    Program,
    Link(String),
    Folder,
}

/// Paths to what is there. Links are followed only as last components, which is all that is needed.
#[derive(Clone, Debug, Default)]
struct Fake(BTreeMap<String, Entry>);

impl Fake {
    fn of(files: &[(&str, &str)]) -> Self {
        let mut fake = Self::default();
        fake.0.insert("/etc".to_owned(), Entry::Folder);
        for (path, content) in files {
            let entry = match content.strip_prefix("-> ") {
                Some(target) => Entry::Link(target.to_owned()),
                None if *content == "program" => Entry::Program,
                None => Entry::File((*content).to_owned(), None),
            };
            fake.0.insert((*path).to_owned(), entry);
        }
        fake
    }

    fn take(&mut self, steps: &[Step]) {
        for step in steps {
            let path = step.path().to_owned();
            match step {
                Step::Write { text, mode, .. } => {
                    self.0.insert(path, Entry::File(text.clone(), *mode));
                }
                Step::Link { target, .. } => drop(self.0.insert(path, Entry::Link(target.clone()))),
                Step::Remove { .. } => drop(self.0.remove(&path)),
                Step::Folder { .. } => drop(self.0.insert(path, Entry::Folder)),
            }
        }
    }
}

impl Look for Fake {
    fn read(&self, path: &str) -> io::Result<Option<String>> {
        match self.0.get(path) {
            Some(Entry::File(text, _)) => Ok(Some(text.clone())),
            Some(Entry::Program) => Err(io::ErrorKind::InvalidData.into()),
            Some(Entry::Link(target)) if target.starts_with('/') => self.read(target),
            Some(Entry::Link(_) | Entry::Folder) | None => Ok(None),
        }
    }

    fn is_folder(&self, path: &str) -> bool {
        self.0.get(path) == Some(&Entry::Folder)
            || self.0.keys().any(|key| key.starts_with(&format!("{path}/")))
    }

    fn is_program(&self, path: &str) -> bool {
        self.0.get(path) == Some(&Entry::Program)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn read_link(&self, path: &str) -> Option<String> {
        match self.0.get(path) {
            Some(Entry::Link(target)) => Some(target.clone()),
            Some(Entry::File(..) | Entry::Program | Entry::Folder) | None => None,
        }
    }
}

const GETTY: &str = "[Unit]\nDescription=Login on /dev/pts/%I\nConditionPathExists=/dev/pts/%I\n\n\
                     [Service]\nTTYPath=/dev/pts/%I\n";
const CONTAINER_GETTY: &str = "/usr/lib/systemd/system/container-getty@.service";
const WANTED: &str = "/etc/systemd/system/getty.target.wants/getty@tty1.service";
const ZONE: (&str, &str) = ("/usr/share/zoneinfo/Europe/Vienna", "");

const DEBIAN: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=debian\n"),
    ("/etc/debian_version", "13.1\n"),
    ("/sbin/init", "-> /lib/systemd/systemd"),
    (CONTAINER_GETTY, GETTY),
    (WANTED, "-> /usr/lib/systemd/system/getty@.service"),
    ("/etc/network/interfaces", "# by hand\nsource /etc/network/interfaces.d/*\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    ("/etc/timezone", "Etc/UTC\n"),
    ZONE,
];
const DEBIAN_6: &[(&str, &str)] = &[
    ("/etc/debian_version", "6.0.10\n"),
    (
        "/etc/inittab",
        "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\npf::powerwait:/x\n",
    ),
];
const DEVUAN: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=devuan\n"),
    ("/etc/devuan_version", "Daedalus\n"),
    ("/etc/inittab", "id:2:initdefault:\n2:23:respawn:/sbin/getty 38400 tty2\n"),
];
const UBUNTU: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=ubuntu\n"),
    ("/etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\n"),
    (CONTAINER_GETTY, GETTY),
    ("/etc/resolv.conf", "-> ../run/systemd/resolve/stub-resolv.conf"),
];
const UBUNTU_14: &[(&str, &str)] = &[
    ("/etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=14.04\n"),
    ("/etc/init/tty4.conf", "exec /sbin/getty -8 38400 tty4\n"),
];
const ALPINE: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=alpine\n"),
    ("/etc/alpine-release", "3.21.3\n"),
    ("/etc/inittab", "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n"),
    ("/etc/network/interfaces", "auto lo\niface lo inet loopback\n"),
    ("/etc/securetty", "console"),
];
const FEDORA: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=fedora\nVERSION_ID=42\n"),
    (CONTAINER_GETTY, GETTY),
    ("/etc/systemd/system/getty@.service", "[Unit]\n"),
];
const CENTOS_7: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=\"centos\"\n"),
    ("/etc/redhat-release", "CentOS Linux release 7.1.1503 (Core)\n"),
    ("/etc/sysconfig/network", "NETWORKING=no\n"),
    ("/usr/lib/systemd/system/getty@.service", "[Unit]\nConditionPathExists=/dev/tty0\n"),
    ("/etc/sysconfig/network-scripts/route-eth3", "10.9.0.0/16 via 10.0.3.9\n"),
];
const ALMA_10: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=\"almalinux\"\n"),
    ("/etc/redhat-release", "AlmaLinux release 10.0 (Purple Lion)\n"),
    (CONTAINER_GETTY, GETTY),
];
const ARCH: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=arch\n"),
    (CONTAINER_GETTY, GETTY),
    ("/etc/systemd/system/getty.target", "-> /dev/null"),
    ("/etc/hosts", "127.0.1.1 LXC_NAME\n"),
];
const SUSE: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n"),
    (CONTAINER_GETTY, GETTY),
    ("/usr/lib/systemd/systemd-networkd", "program"),
];
const GENTOO: &[(&str, &str)] = &[
    ("/etc/os-release", "ID=gentoo\n"),
    ("/etc/gentoo-release", "Gentoo Base System release 2.17\n"),
    ("/etc/inittab", "id:3:initdefault:\nc1:12345:respawn:/sbin/agetty 38400 tty1 linux\n"),
    ("/etc/conf.d/net", "# explains itself\n"),
];
const NIXOS: &[(&str, &str)] = &[("/etc/os-release", "ID=nixos\n"), ZONE];

fn settings(lines: &str) -> Settings {
    let text = format!(
        "hostname: web.example.com\nsearchdomain: example.com lan\nnameserver: 10.0.0.1 fd00::53\n{lines}"
    );
    let config = ContainerConfig::parse(text.as_bytes());
    let zone = Timezone { file: ZONE.0.to_owned(), name: "Europe/Vienna".to_owned() };
    let vmid = "100".parse().unwrap();
    let settings = Settings::of(&config, vmid, HostResolver::default()).unwrap();
    Settings { timezone: Some(zone), ..settings }
}

/// Every way to an address, and one that is the host's.
const NETS: &str = "net0: name=eth0,ip=10.0.0.5/24,gw=10.0.0.1,ip6=fd00::5/64,gw6=fe80::1\n\
                    net1: name=eth1,ip=dhcp,ip6=auto\n\
                    net2: name=eth2,ip=manual,ip6=dhcp\n\
                    net3: name=eth3,ip=10.0.3.5/32,gw=10.1.0.1,ip6=fd03::5/128,gw6=fd01::1\n\
                    net4: name=eth4,ip=10.0.4.5/24,host-managed=1\n";

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        text += &format!("WARN: {warning}\n");
    }
    for step in &plan.steps {
        text += &match step {
            Step::Write { path, text, mode: None } => format!("== {path}\n{text}"),
            Step::Write { path, text, mode: Some(mode) } => format!("== {path} {mode:o}\n{text}"),
            Step::Link { path, target } => format!("== {path} -> {target}\n"),
            Step::Remove { path } => format!("== {path} goes\n"),
            Step::Folder { path } => format!("== {path}/\n"),
        };
    }
    text
}

#[rstest]
#[case::debian("debian", DEBIAN)]
#[case::debian_6("debian-6", DEBIAN_6)]
#[case::devuan("devuan", DEVUAN)]
#[case::ubuntu("ubuntu", UBUNTU)]
#[case::ubuntu_14("ubuntu-14", UBUNTU_14)]
#[case::alpine("alpine", ALPINE)]
#[case::fedora("fedora", FEDORA)]
#[case::centos_7("centos-7", CENTOS_7)]
#[case::alma_10("alma-10", ALMA_10)]
#[case::arch("archlinux", ARCH)]
#[case::suse("opensuse", SUSE)]
#[case::gentoo("gentoo", GENTOO)]
#[case::nixos("nixos", NIXOS)]
fn writes_what_the_distribution_reads(#[case] name: &str, #[case] files: &[(&str, &str)]) {
    let mut root = Fake::of(files);
    let settings = settings(NETS);

    let created = after_create(&settings, &root);
    let mut fresh = root.clone();
    fresh.take(&created.steps);
    let started = before_start(&settings, &root);
    root.take(&started.steps);

    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(shown(&created));
    });
    // What is created need not be written again but for the file that a boot may take away.
    let first = before_start(&settings, &fresh);
    assert_eq!(first.steps.iter().map(Step::path).collect::<Vec<_>>(), ["/fastboot"]);
    assert_eq!(before_start(&settings, &root).steps, []);
    let everywhere = shown(&started);
    assert!(!everywhere.contains("10.0.4.5"), "that one is the host's: {everywhere}");
}

#[rstest]
#[case::debian(DEBIAN, "/etc/network/interfaces", "10.0.0.5/24", "10.0.0.6/24")]
#[case::fedora(FEDORA, "/etc/systemd/network/eth0.network", "10.0.0.5/24", "10.0.0.6/24")]
#[case::suse(SUSE, "/etc/sysconfig/network/ifcfg-eth0", "10.0.0.5/24", "10.0.0.6/24")]
fn a_change_replaces_what_was_written(
    #[case] files: &[(&str, &str)],
    #[case] path: &str,
    #[case] old: &str,
    #[case] new: &str,
) {
    let mut root = Fake::of(files);
    root.take(&before_start(&settings(NETS), &root).steps);
    assert!(root.read(path).unwrap().unwrap().contains(old));

    root.take(&before_start(&settings(&NETS.replace(old, new)), &root).steps);

    let text = root.read(path).unwrap().unwrap();
    assert!(text.contains(new) && !text.contains(old), "{text}");
}

#[test]
fn fewer_terminals_take_their_logins_away() {
    let mut root = Fake::of(DEBIAN);
    root.take(&before_start(&settings("tty: 3\n"), &root).steps);
    let login = |root: &Fake, number: u32| {
        root.exists(&format!(
            "/etc/systemd/system/getty.target.wants/container-getty@{number}.service"
        ))
    };
    assert!(login(&root, 3) && !login(&root, 4) && !root.exists(WANTED));
    root.take(&before_start(&settings("tty: 0\n"), &root).steps);
    assert!((1..=6).all(|number| !login(&root, number)));
}

#[test]
fn a_privileged_container_of_lxcs_has_its_terminals_in_a_folder() {
    let root = Fake::of(ARCH);
    let settings = Settings { tty_folder: true, ..settings("") };
    assert!(shown(&before_start(&settings, &root)).contains("TTYPath=/dev/lxc/tty%I"));
    let debian = shown(&before_start(&settings, &Fake::of(DEBIAN)));
    assert!(debian.contains("TTYPath=/dev/tty%I"), "which knows none: {debian}");
}

#[rstest]
#[case::unmanaged("ostype: unmanaged\n", DEBIAN, "")]
#[case::another("ostype: alpine\n", DEBIAN, "WARN: got unexpected ostype (debian != alpine)\n")]
#[case::nothing(
    "ostype: debian\n",
    &[("/bin/sh", "")],
    "WARN: got unexpected ostype (unmanaged != debian)\n"
)]
#[case::no_ostype("", &[("/bin/sh", "")], "")]
#[case::unknown(
    "ostype: debian\n",
    &[("/etc/os-release", "ID=haiku\n")],
    "WARN: unable to detect OS distribution: the files of the container are left as they are\n"
)]
#[case::too_old(
    "",
    &[("/etc/debian_version", "3.1\n")],
    "WARN: unsupported Debian version '3.1': the files of the container are left as they are\n"
)]
#[case::newer(
    "",
    &[("/etc/os-release", "ID=debian\n"), ("/etc/debian_version", "duke/sid\n")],
    "WARN: Debian 15 of the container is newer than 14, the latest that is known\n"
)]
fn goes_by_the_rootfs(#[case] lines: &str, #[case] files: &[(&str, &str)], #[case] warnings: &str) {
    let plan = before_start(&settings(lines), &Fake::of(files));
    let said: String = plan
        .warnings
        .iter()
        .filter(|w| !w.contains("timezone"))
        .map(|w| format!("WARN: {w}\n"))
        .collect();
    assert_eq!(said, warnings);
    let touched = lines.is_empty() && warnings.contains("newer") || lines.contains("alpine");
    assert_eq!(!plan.steps.is_empty(), touched);
}

#[test]
fn one_part_that_fails_leaves_the_others_their_chance() {
    let mut root = Fake::of(DEBIAN);
    root.0.insert("/etc/network/interfaces".to_owned(), Entry::Program);
    let plan = before_start(&settings(NETS), &root);
    assert!(plan.warnings[0].starts_with("cannot set up the network: "), "{:?}", plan.warnings);
    assert!(plan.steps.iter().any(|step| step.path() == "/etc/hostname"));
    assert!(!plan.steps.iter().any(|step| step.path() == "/etc/network/interfaces"));
}
