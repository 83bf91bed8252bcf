//! The bundle's mounts as entries of LXC's, in their order. A tmpfs on `/dev`, what is in it and the
//! terminals below it are LXC's own affair, and so are cgroups.

use std::path::{Component, Path};

use oci_spec::runtime::{Mount, Spec};

use super::{Host, Kind, Place, cannot, devices, lacks};
use crate::bundle::BundleError;
use crate::lxc::lines::{Lines, field};

const CGROUP: &str = "/sys/fs/cgroup";

/// Options that are flags to LXC's reader; it takes any other word for the file system's.
const FLAGS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "rbind",
    "relatime",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "unbindable",
];
/// Flags of a bundle's that LXC does not know, and that mean more than speed.
const UNKNOWN: &[&str] = &[
    "copy-symlink",
    "dest-nofollow",
    "idmap",
    "nosymfollow",
    "rdev",
    "rexec",
    "ridmap",
    "rnodev",
    "rnoexec",
    "rnosuid",
    "rnosymfollow",
    "rro",
    "rrw",
    "rsuid",
    "rsymfollow",
    "src-nofollow",
    "symfollow",
    "tmpcopyup",
];
/// Flags of a bundle's that a container is no less without.
const NEEDLESS: &[&str] = &[
    "iversion",
    "lazytime",
    "loud",
    "noiversion",
    "nolazytime",
    "ratime",
    "rdiratime",
    "rnoatime",
    "rnodiratime",
    "rnorelatime",
    "rnostrictatime",
    "rrelatime",
    "rstrictatime",
    "silent",
];

pub(super) struct Mounts<'a> {
    spec: &'a Spec,
    place: &'a Place<'a>,
    host: &'a Host,
    dev: Dev<'a>,
}

/// Who makes what is in `/dev`.
#[derive(Clone, Copy)]
enum Dev<'a> {
    /// LXC, on a tmpfs.
    Lxc(&'a Mount),
    /// Whoever made what is mounted there.
    Theirs,
    /// Nothing is mounted there.
    Rootfs,
}

impl<'a> Mounts<'a> {
    pub(super) fn of(
        spec: &'a Spec,
        place: &'a Place<'a>,
        host: &'a Host,
    ) -> Result<Self, BundleError> {
        let mut at_dev = spec.mounts().iter().flatten();
        let dev = match at_dev.rfind(|mount| mount.destination() == Path::new("/dev")) {
            Some(mount) if mount.typ().as_deref() == Some("tmpfs") => Dev::Lxc(mount),
            Some(_) => Dev::Theirs,
            None => Dev::Rootfs,
        };
        let maps = spec
            .mounts()
            .iter()
            .flatten()
            .find(|mount| mount.uid_mappings().is_some() || mount.gid_mappings().is_some());
        match maps {
            Some(mount) => Err(lacks(&key(mount), "is not asked for mounts with ids of their own")),
            None => Ok(Self { spec, place, host, dev }),
        }
    }

    pub(super) fn write(&self, lines: &mut Lines) -> Result<(), BundleError> {
        match self.dev {
            Dev::Lxc(mount) => {
                lines.put("lxc.autodev", "1")?;
                if let Some(size) = size(mount)? {
                    lines.put("lxc.autodev.tmpfs.size", &size.to_string())?;
                }
            }
            Dev::Theirs | Dev::Rootfs => lines.put("lxc.autodev", "0")?,
        }
        for mount in self.spec.mounts().iter().flatten() {
            if !self.is_lxc_s(mount) {
                self.entry(lines, mount)?;
            }
        }
        if matches!(self.dev, Dev::Rootfs) {
            for node in devices::usual_nodes() {
                bind_node(lines, node, node)?;
            }
        }
        for mount in self.spec.mounts().iter().flatten().filter(|mount| is_cgroup(mount)) {
            let ro = options(mount).any(|option| option == "ro");
            // Forced: LXC leaves it to an init that could do it itself.
            lines.put("lxc.mount.auto", if ro { "cgroup:ro:force" } else { "cgroup:rw:force" })?;
        }
        Ok(())
    }

    fn is_lxc_s(&self, mount: &Mount) -> bool {
        let at = mount.destination();
        let pts = mount.typ().as_deref() == Some("devpts") && at == Path::new("/dev/pts");
        let dev = matches!(self.dev, Dev::Lxc(_)) && at == Path::new("/dev");
        pts || dev || is_cgroup(mount)
    }

    fn entry(&self, lines: &mut Lines, mount: &Mount) -> Result<(), BundleError> {
        let kind = mount.typ().as_deref().unwrap_or("none");
        let mut words = Vec::new();
        for option in options(mount) {
            if UNKNOWN.contains(&option) || option.starts_with("idmap=") {
                return Err(lacks(&key(mount), &format!("knows no option '{option}'")));
            }
            if !NEEDLESS.contains(&option) && !option.is_empty() {
                words.push(option);
            }
        }
        let bind = kind == "bind" || words.iter().any(|word| matches!(*word, "bind" | "rbind"));
        if bind && !words.iter().any(|word| matches!(*word, "bind" | "rbind")) {
            words.push("bind");
        }
        if bind && let Some(word) = words.iter().find(|word| !FLAGS.contains(word)) {
            return Err(lacks(&key(mount), &format!("knows no option '{word}' of a bind mount")));
        }
        let source = mount.source().clone().unwrap_or_else(|| kind.into());
        let source = if bind { self.place.bundle.join(source) } else { source };
        let file = bind && self.look(mount, &source)? == Kind::Other;
        words.push(if file { "create=file" } else { "create=dir" });
        let kind = if bind { "none" } else { kind };
        put(lines, &source, mount.destination(), kind, &words.join(","))
    }

    fn look(&self, mount: &Mount, source: &Path) -> Result<Kind, BundleError> {
        let gone = || cannot(&key(mount), format!("'{}' does not exist", source.display()));
        (self.host.look)(source).ok_or_else(gone)
    }
}

/// A node of the host's, or one made for the container.
pub(super) fn bind_node(lines: &mut Lines, source: &Path, path: &Path) -> Result<(), BundleError> {
    put(lines, source, path, "none", "bind,create=file")
}

fn put(
    lines: &mut Lines,
    source: &Path,
    destination: &Path,
    kind: &str,
    options: &str,
) -> Result<(), BundleError> {
    let key = format!("mounts {}", destination.display());
    let outside = |part| matches!(part, Component::ParentDir);
    if destination.components().any(outside) {
        return Err(cannot(&key, "leads out of the container"));
    }
    let text = |path: &Path| path.to_str().map(field).ok_or_else(|| cannot(&key, "is not UTF-8"));
    let target = destination.strip_prefix("/").unwrap_or(destination);
    let (source, target) = (text(source)?, text(target)?);
    if target.is_empty() {
        return Err(lacks(&key, "mounts nothing over the root"));
    }
    let (kind, options) = (field(kind), field(options));
    lines.put("lxc.mount.entry", &format!("{source} {target} {kind} {options} 0 0"))
}

fn key(mount: &Mount) -> String {
    format!("mounts {}", mount.destination().display())
}

fn options(mount: &Mount) -> impl Iterator<Item = &str> {
    mount.options().iter().flatten().map(String::as_str)
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
        && mount.destination() == Path::new(CGROUP)
}

/// `size=65536k` in bytes. A part of the memory, in per cent, stays LXC's choice.
fn size(mount: &Mount) -> Result<Option<u64>, BundleError> {
    let text = options(mount).find_map(|option| option.strip_prefix("size="));
    let Some(text) = text.filter(|text| !text.ends_with('%')) else { return Ok(None) };
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    let shift = match &lower[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => 64,
    };
    let bytes =
        digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
    bytes.map(Some).ok_or_else(|| cannot(&key(mount), format!("'{text}' is no size")))
}
