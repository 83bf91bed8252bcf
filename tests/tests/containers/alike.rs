//! The same container under libcrun and under Debian's LXC, looked at from inside: what the kernel says
//! of its first process, its mounts, devices, cgroup and interfaces. Differences are listed, each with
//! its reason, in `tests/alike/differences.toml`; one that is not there fails, and so does one that is
//! there and gone.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use serde::Deserialize;
use tests::{Content, eventually, rootfs};

use crate::runtimes::daemon;
use crate::{BUSYBOX, PRIVILEGED, SMALL, SUBVOL, UNPRIVILEGED};

/// Prints `KIND NAME VALUE`, one of each name; busybox alone, so that nothing else is in the container.
const LOOK: &str = r#"#!/bin/sh
b=/bin/busybox
$b awk -F: '/^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Sig(Blk|Ign)|Umask|THP|Speculation)/ {
    gsub(/[ \t]+/, " ", $2); print "status", $1, $2 }' /proc/self/status
$b awk 'NR > 1 { name = substr($0, 1, 26); gsub(/ +$/, "", name); gsub(/ /, "_", name);
    rest = substr($0, 27); gsub(/ +/, " ", rest); print "limits", name, rest }' /proc/self/limits
$b awk '{ for (i = 7; $i != "-"; i++) {}; where[$5] = (where[$5] ? where[$5] " over " : "") $(i+1) " " $6 " " $(i+3) }
    END { for (m in where) print "mounts", m, where[m] }' /proc/self/mountinfo
$b find /dev | while read -r file; do
    echo "dev $file $($b stat -c '%F %a %u:%g %t:%T' "$file") $($b readlink "$file")"; done
for file in $($b find /sys/fs/cgroup -maxdepth 1); do
    echo "cgroup $file $($b stat -c '%a %u:%g' "$file")"; done
for file in memory.max memory.high memory.swap.max cpu.max cpu.weight pids.max cgroup.controllers cgroup.subtree_control; do
    echo "limit $file $($b cat /sys/fs/cgroup/$file)"; done
echo "cgroup path $($b cat /proc/self/cgroup)"
for file in $($b ls /sys/class/net); do
    echo "net $file $($b cat /sys/class/net/$file/mtu) $($b cat /sys/class/net/$file/operstate)"; done
$b env | while read -r line; do echo "env ${line%%=*} $line"; done
for file in oom_score_adj loginuid personality coredump_filter timerslack_ns uid_map gid_map setgroups cgroup; do
    echo "proc $file $($b cat /proc/self/$file 2>&1 | $b tr -s ' \n' ' ')"; done
echo "proc cwd $($b readlink /proc/self/cwd)"
echo "proc hostname $($b hostname)"
echo "proc session $($b awk '{ print $5, $6, $7 != 0 }' /proc/self/stat)"
for file in /proc/1/fd/*; do
    echo "fd ${file##*/} $($b readlink $file | $b sed 's/:.*//')"; done
for file in /proc/sys/kernel/panic /proc/sys/net/ipv4/ip_forward /sys/kernel/uevent_helper /proc/sysrq-trigger \
    /sys/devices/virtual/net/lo/mtu /sys/fs/cgroup/cgroup.procs /proc/kcore /sys/firmware; do
    echo "may-write $file $({ : >>$file; } 2>&1 && echo yes || echo no)"; done
echo "look done"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    difference: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// Kinds of containers, as the cases below name them; in all if there are none.
    #[serde(default)]
    containers: Vec<String>,
    /// Names of lines; `*` at the end stands for any rest.
    what: Vec<String>,
    /// What it is for, as nobody should have to guess.
    reason: String,
}

impl Difference {
    fn is_about(&self, container: &str) -> bool {
        self.containers.is_empty() || self.containers.iter().any(|name| name == container)
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// `KIND NAME` to value.
fn seen(runtime: &str, options: &[(&str, &str)]) -> BTreeMap<String, String> {
    let daemon = daemon(runtime);
    let content = Content::default().file("bin/look", 0o755, LOOK).file(
        "sbin/init",
        0o755,
        "#!/bin/sh\nexec /bin/look\n",
    );
    rootfs(&daemon.templates(), BUSYBOX, &content);
    let guest =
        daemon.create(100, BUSYBOX, &[&[SUBVOL, SMALL, ("hostname", "alike")], options].concat());
    let task = guest.task("start", &[]);
    let log = daemon.root().join("var/log/proxmox-lxcri/100.log");
    let text = eventually(30, "what it saw", || {
        let text = fs_err::read_to_string(&log).unwrap_or_default();
        (text.contains("look done") || task.exitstatus.starts_with("startup")).then_some(text)
    });
    eventually(30, "its end", || (guest.status() == "stopped").then_some(()));
    assert!(text.contains("look done"), "{runtime}: {}\n{text}", task.log);
    guest.destroy();
    let root = daemon.root().display().to_string();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.trim_end().splitn(3, ' ');
        let (kind, name) = (words.next()?, words.next()?);
        let value = words.next().unwrap_or_default().trim().replace(&root, "ROOT");
        Some((format!("{kind} {name}"), value))
    });
    lines.collect()
}

#[rstest]
#[case("unprivileged system", &[UNPRIVILEGED])]
#[case("privileged system", &[PRIVILEGED])]
#[case("unprivileged application", &[UNPRIVILEGED, ("entrypoint", "/bin/look")])]
#[case("privileged application", &[PRIVILEGED, ("entrypoint", "/bin/look")])]
fn it_looks_alike_from_inside(#[case] container: &str, #[case] options: &[(&str, &str)]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/alike/differences.toml");
    let listed: Listed = toml::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    assert!(listed.difference.iter().all(|difference| difference.reason.ends_with('.')));
    let (crun, lxc) = (seen("crun", options), seen("lxc", options));
    assert!(crun.len() > 60, "it saw little: {crun:?}");

    let names: BTreeSet<_> = crun.keys().chain(lxc.keys()).collect();
    let different: Vec<_> =
        names.into_iter().filter(|name| crun.get(*name) != lxc.get(*name)).collect();
    let here: Vec<_> =
        listed.difference.iter().filter(|difference| difference.is_about(container)).collect();
    let patterns = || here.iter().flat_map(|difference| &difference.what);
    let mut wrong: Vec<String> = different
        .iter()
        .filter(|name| !patterns().any(|pattern| covers(pattern, name)))
        .map(|name| format!("{name}\n  crun {:?}\n  lxc  {:?}", crun.get(*name), lxc.get(*name)))
        .collect();
    let gone = patterns().filter(|pattern| !different.iter().any(|name| covers(pattern, name)));
    wrong.extend(gone.map(|pattern| format!("{pattern} is listed, and there is no difference")));
    assert!(wrong.is_empty(), "{container}:\n{}", wrong.join("\n"));
}
