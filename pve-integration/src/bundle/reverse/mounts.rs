//! Mounts: those of every container are compared, the others are lines of fstab.

use std::path::{Component, Path};

use serde_json::{Map, Value, json};

use super::{Document, ReverseError, Reversed, strings, to_value, unknown_fields};
use crate::host::{HostFacts, LXCFS};

const KNOWN: [&str; 4] = ["destination", "type", "source", "options"];
/// What engines make for each container, as the monitor does for its own.
const NAMES: [&str; 5] =
    ["/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    destination: String,
    kind: String,
    source: String,
    options: Vec<String>,
}

impl Mount {
    fn of(element: &Map<String, Value>) -> Self {
        let text =
            |field: &str| element.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let options = element.get("options").map(strings).unwrap_or_default();
        let (destination, source) = (text("destination"), text("source"));
        Self { destination, kind: text("type"), source, options }
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|word| word == option)
    }

    fn is_bind(&self) -> bool {
        self.kind == "bind" || self.has("bind") || self.has("rbind")
    }

    fn path(&self) -> String {
        format!("mounts[{}]", self.destination.escape_default())
    }

    /// The key of the device that the monitor made in a folder of its own to be bound here.
    fn device(&self) -> Option<&str> {
        let (folder, key) = self.source.rsplit_once('/')?;
        let number = key.strip_prefix("dev")?;
        let ours = folder.starts_with("/run/") && folder.ends_with("-devices");
        (ours && self.is_bind() && number.parse::<u8>().is_ok()).then_some(key)
    }

    fn is_fuse(&self) -> bool {
        self.is_bind() && self.destination == "/dev/fuse" && self.source == "/dev/fuse"
    }

    fn is_terminal(&self) -> bool {
        let number = self.destination.strip_prefix("/dev/tty").and_then(|n| n.parse::<u32>().ok());
        number.is_some() && self.is_bind() && self.source.starts_with("/dev/pts/")
    }

    /// Made for the container by whoever wrote the bundle: Podman, CRI-O, Docker.
    fn is_name(&self) -> bool {
        NAMES.contains(&self.destination.as_str())
            && self.is_bind()
            && ["/userdata/", "/containers/"].iter().any(|part| self.source.contains(part))
    }
}

/// A device that our own bundle binds, in the order of its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundNode {
    /// `None` for the one of `features: fuse`.
    pub(super) key: Option<String>,
    pub(super) path: String,
}

/// Devices and terminals leave the list; the terminals are counted.
pub(super) fn nodes(document: &mut Document, made: &mut Reversed) -> Vec<BoundNode> {
    let Some(list) = document.list("/mounts") else { return Vec::new() };
    let (mut nodes, mut terminals, mut left) = (Vec::new(), 0_u32, Vec::new());
    for element in list {
        let mount = element.as_object().map(Mount::of);
        match mount {
            Some(mount) if mount.device().is_some() => {
                let key = mount.device().map(str::to_owned);
                nodes.push(BoundNode { key, path: mount.destination });
            }
            Some(mount) if mount.is_fuse() => {
                made.feature("fuse");
                nodes.push(BoundNode { key: None, path: mount.destination });
            }
            Some(mount) if mount.is_terminal() => terminals += 1,
            Some(_) | None => left.push(element),
        }
    }
    if let Some(mounts) = document.0.as_object_mut() {
        mounts.insert("mounts".to_owned(), json!(left));
    }
    let default = if made.config().is_application() { 0 } else { crate::ct_config::TTYS };
    // Who writes bundles for others binds none.
    if terminals != default {
        made.set("tty", terminals.to_string());
    }
    nodes
}

/// After `nodes`.
pub(super) fn of(
    document: &mut Document,
    facts: &HostFacts,
    made: &mut Reversed,
) -> Result<(), ReverseError> {
    let list = document.list("/mounts").unwrap_or_default();
    let mut ours = own(facts, made)?;
    for element in list.iter().filter_map(Value::as_object) {
        let mount = Mount::of(element);
        unknown_fields(&mount.path(), element, &KNOWN, made);
        if mount.source.starts_with(&format!("{LXCFS}/")) || mount.is_name() {
            made.note(&mount.path(), "is this host's own to make");
            continue;
        }
        // A second one there is an addition.
        let Some(at) = ours.iter().position(|own| own.destination == mount.destination) else {
            entry(&mount, made);
            continue;
        };
        same_place(&ours.remove(at), &mount, made);
    }
    Ok(())
}

/// Those of every container, but for the features so far.
fn own(facts: &HostFacts, made: &Reversed) -> Result<Vec<Mount>, ReverseError> {
    let ours = to_value(&made.bundle(facts)?.spec);
    let list = ours["mounts"].as_array().cloned().unwrap_or_default();
    let mounts = list.iter().filter_map(Value::as_object).map(Mount::of);
    Ok(mounts.filter(|mount| !mount.source.starts_with(LXCFS) && !mount.is_fuse()).collect())
}

fn same_place(own: &Mount, theirs: &Mount, made: &mut Reversed) {
    let kind = |mount: &Mount| if mount.is_bind() { "bind".to_owned() } else { mount.kind.clone() };
    // The kernel's two names for one thing.
    let cgroup = |kind: &str| kind.starts_with("cgroup");
    let same = kind(own) == kind(theirs)
        || (cgroup(&own.kind) && cgroup(&theirs.kind) && !theirs.is_bind());
    if !same {
        let reason = format!("every container has a {} there, not a {}", kind(own), kind(theirs));
        return made.warn(&theirs.path(), reason.escape_default().to_string());
    }
    let mut own = own.clone();
    match theirs.destination.as_str() {
        "/sys" if own.has("ro") != theirs.has("ro") => writable(&mut own, theirs, "sys", made),
        "/sys/fs/cgroup" if own.has("ro") != theirs.has("ro") => {
            writable(&mut own, theirs, "cgroup", made);
        }
        "/dev/pts" => {
            let most = theirs.options.iter().find_map(|option| option.strip_prefix("max="));
            if let Some(most) = most.filter(|most| most.parse::<u32>().is_ok()) {
                made.raw("lxc.pty.max", most);
                own.options.push(format!("max={most}"));
            }
        }
        _ => {}
    }
    let sorted = |mount: &Mount| {
        let mut options = mount.options.clone();
        options.sort();
        options
    };
    if sorted(&own) != sorted(theirs) {
        let options = own.options.join(",");
        made.note(&theirs.path(), format!("is mounted with this host's options: {options}"));
    }
}

/// `features: force_rw_sys` counts for containers that are shifted, `lxc.mount.auto` for all.
fn writable(own: &mut Mount, theirs: &Mount, name: &str, made: &mut Reversed) {
    let rw = !theirs.has("ro");
    if rw {
        own.options.retain(|option| option != "ro");
    } else {
        own.options.push("ro".to_owned());
    }
    let shifted = made.keys.get("unprivileged").is_some_and(|on| on == "1");
    if name == "sys" && rw && shifted {
        made.feature("force_rw_sys");
    } else {
        made.raw("lxc.mount.auto", format!("{name}:{}", if rw { "rw" } else { "ro" }));
    }
}

fn entry(mount: &Mount, made: &mut Reversed) {
    let path = mount.path();
    let target = Path::new(&mount.destination);
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let inside = mount.destination.trim_start_matches('/');
    if !target.is_absolute() || inside.is_empty() || !target.components().all(plain) {
        return made.warn(&path, "is no place in the container");
    }
    if mount.is_bind() && !mount.source.starts_with('/') {
        return made.warn(&path, "has its source in the bundle's own folder");
    }
    let mut options = mount.options.clone();
    if mount.is_bind() && !mount.has("bind") && !mount.has("rbind") {
        options.insert(0, "bind".to_owned());
    }
    let odd = |option: &String| {
        ["relative", "optional", "defaults", "create=dir", "create=file"].contains(&option.as_str())
            || option.contains(',')
    };
    if let Some(option) = options.iter().find(|option| odd(option)) {
        let option = option.escape_default().to_string();
        return made.warn(&path, format!("its option '{option}' means something else in a config"));
    }
    let kind = match (mount.is_bind(), mount.kind.as_str()) {
        (true, _) | (false, "") => "none",
        (false, kind) => kind,
    };
    let source = if mount.source.is_empty() { "none" } else { &mount.source };
    let options = if options.is_empty() { "defaults".to_owned() } else { options.join(",") };
    let fields = [source, inside, kind, &options].map(escape);
    if fields.iter().any(|field| field.contains(|c: char| c.is_control() || c.is_whitespace())) {
        return made.warn(&path, "holds a character that no line of fstab can");
    }
    made.raw("lxc.mount.entry", format!("{} 0 0", fields.join(" ")));
}

/// fstab(5).
fn escape(field: &str) -> String {
    let mut text = String::new();
    for c in field.chars() {
        match c {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\\' => text.push_str("\\134"),
            c => text.push(c),
        }
    }
    text
}
