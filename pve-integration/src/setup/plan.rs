//! Which distribution gets what. The table is pve-container's (`PVE/LXC/Setup/*.pm`): the same files,
//! by the same releases.

use std::io;

use super::distribution::{self, Distribution, Kind};
use super::draft::{Draft, Look, Step};
use super::init::{self, Inittab, is_number};
use super::network::{hosts_section, resolv_conf};
use super::section::Where;
use super::{Settings, UNMANAGED, gentoo, ifupdown, networkd, redhat, suse};

/// The newest Debian whose files are known.
const NEWEST_DEBIAN: u32 = 14;

/// What is to be done, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What could not be decided, or is new to us.
    pub warnings: Vec<String>,
}

/// Before each start of init.
pub fn before_start(settings: &Settings, look: &dyn Look) -> Plan {
    let mut draft = Draft::new(look);
    if let Some(found) = recognized(settings, look, &mut draft) {
        draft.write("/fastboot", ""); // no check of file systems, which are the host's
        everything(&found, settings, &mut draft);
    }
    let (steps, warnings) = draft.finish();
    Plan { steps, warnings }
}

/// Of a container that runs, once an interface of it has changed (`update_ipconfig` of PVE::LXC).
pub fn after_net_change(settings: &Settings, look: &dyn Look) -> Plan {
    let mut draft = Draft::new(look);
    if let Some(found) = recognized(settings, look, &mut draft) {
        attempt(&mut draft, "the network", |draft| network(&found, settings, draft));
    }
    let (steps, warnings) = draft.finish();
    Plan { steps, warnings }
}

/// Once, for a rootfs fresh from its template: what the first start would need to find.
pub fn after_create(settings: &Settings, look: &dyn Look) -> Plan {
    let mut draft = Draft::new(look);
    match recognized(settings, look, &mut draft) {
        Some(found) => {
            attempt(&mut draft, "its template", |draft| template(&found, settings, draft));
            everything(&found, settings, &mut draft);
        }
        // Whoever names an ostype wants the names at least.
        None if settings.ostype.as_deref().is_some_and(|ostype| ostype != UNMANAGED) => {
            names(None, settings, &mut draft);
        }
        None => {}
    }
    let (steps, warnings) = draft.finish();
    Plan { steps, warnings }
}

/// The rootfs decides; a config that calls it something else is told so.
fn recognized(settings: &Settings, look: &dyn Look, draft: &mut Draft<'_>) -> Option<Distribution> {
    let expected = settings.ostype.as_deref();
    if expected == Some(UNMANAGED) {
        return None;
    }
    let found = match distribution::detect(look) {
        Ok(found) => found,
        Err(err) => {
            draft.warn(format!("{err}: the files of the container are left as they are"));
            return None;
        }
    };
    let ostype = found.map_or(UNMANAGED, |found| found.kind.ostype());
    if let Some(expected) = expected.filter(|expected| *expected != ostype) {
        draft.warn(format!("got unexpected ostype ({ostype} != {expected})"));
    }
    let found = found?;
    if found.kind == Kind::Debian && found.version.0 > NEWEST_DEBIAN {
        draft.warn(format!(
            "Debian {} of the container is newer than {NEWEST_DEBIAN}, the latest that is known",
            found.version.0
        ));
    }
    Some(found)
}

/// One part that fails leaves the others their chance.
fn attempt(draft: &mut Draft<'_>, what: &str, part: impl FnOnce(&mut Draft<'_>) -> io::Result<()>) {
    if let Err(err) = part(draft) {
        draft.warn(format!("cannot set up {what}: {err}"));
    }
}

fn everything(found: &Distribution, settings: &Settings, draft: &mut Draft<'_>) {
    attempt(draft, "init", |draft| terminals(found, settings, draft));
    attempt(draft, "the network", |draft| network(found, settings, draft));
    names(Some(found), settings, draft);
}

fn names(found: Option<&Distribution>, settings: &Settings, draft: &mut Draft<'_>) {
    if !draft.is_folder("/etc") {
        return;
    }
    if settings.names {
        attempt(draft, "the host name", |draft| host_name(found, settings, draft));
        attempt(draft, "the resolver", |draft| {
            let data = resolv_conf(&settings.search, &settings.servers);
            draft.section("/etc/resolv.conf", &data, Where::Replace)
        });
    }
    if found.is_none_or(|found| found.kind != Kind::NixOs) {
        timezone(settings, draft);
    }
}

fn tty_folder(kind: Kind, settings: &Settings) -> &'static str {
    match kind {
        // These know no `/dev/lxc`.
        Kind::Alpine | Kind::Debian | Kind::Devuan | Kind::Gentoo | Kind::Ubuntu => "",
        Kind::Arch | Kind::CentOs | Kind::Fedora | Kind::NixOs | Kind::Suse => {
            if settings.tty_folder { "lxc/" } else { "" }
        }
    }
}

fn terminals(found: &Distribution, settings: &Settings, draft: &mut Draft<'_>) -> io::Result<()> {
    let ttys = settings.ttys;
    let folder = tty_folder(found.kind, settings);
    match found.kind {
        Kind::Alpine => init::inittab(
            draft,
            ttys,
            &Inittab {
                is_getty: |id| id.strip_prefix("tty").is_some_and(is_number),
                is_unwanted: |_| false,
                before: "",
                line: |number| format!("tty{number}::respawn:/sbin/getty 38400 tty{number}\n"),
            },
        ),
        Kind::Arch => {
            // It enables no network by itself.
            init::preset(draft, Some(true));
            init::container_gettys(draft, ttys, folder)
        }
        Kind::CentOs => {
            init::old_getty(draft)?;
            init::container_gettys(draft, ttys, folder)?;
            if found.version >= (8, 0) {
                init::preset(draft, None);
            }
            Ok(())
        }
        Kind::Debian | Kind::Devuan => {
            if init::is_systemd(draft) {
                init::container_gettys(draft, ttys, folder)?;
                if found.version >= (12, 0) {
                    init::preset(draft, Some(false)); // it uses ifupdown
                }
            }
            let old = found.version < (7, 0);
            init::inittab(draft, ttys, if old { &OLD_DEBIAN } else { &DEBIAN })
        }
        Kind::Fedora => {
            init::container_gettys(draft, ttys, folder)?;
            if found.version >= (37, 0) {
                init::preset(draft, Some(true)); // it would start NetworkManager
            }
            Ok(())
        }
        Kind::Gentoo => init::inittab(
            draft,
            ttys,
            &Inittab {
                is_getty: |id| is_number(id.strip_prefix('c').unwrap_or(id)),
                is_unwanted: |_| false,
                before: "",
                line: |number| format!("{number}::respawn:/sbin/agetty 38400 tty{number}\n"),
            },
        ),
        Kind::NixOs => Ok(()),
        Kind::Suse => {
            init::old_getty(draft)?;
            init::container_gettys(draft, ttys, folder)
        }
        Kind::Ubuntu => {
            if found.version >= (23, 4) {
                init::preset(draft, Some(true));
            }
            match found.version {
                (16, 10) | (17.., _) => init::container_gettys(draft, ttys, folder),
                (12 | 14, 4) => {
                    init::upstart(draft, ttys);
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    }
}

/// The line that ends a container when its host asks, and a login on each terminal.
const DEBIAN: Inittab = Inittab {
    is_getty: is_number,
    is_unwanted: is_power_line,
    before: "p0::powerfail:/sbin/init 0\n",
    line: |number| {
        format!("{number}:{}:respawn:/sbin/getty --noclear 38400 tty{number}\n", levels(number))
    },
};
const OLD_DEBIAN: Inittab = Inittab {
    line: |number| {
        format!("{number}:{}:respawn:/sbin/getty -L 38400 tty{number}\n", levels(number))
    },
    ..DEBIAN
};

fn levels(number: u32) -> &'static str {
    if number == 1 { "2345" } else { "23" }
}

fn is_power_line(line: &str) -> bool {
    ["pf:", "pn:", "po:", "p0:"].iter().any(|id| line.trim_start().starts_with(id))
}

fn network(found: &Distribution, settings: &Settings, draft: &mut Draft<'_>) -> io::Result<()> {
    let interfaces = &settings.interfaces;
    let version = found.version;
    match found.kind {
        Kind::Alpine => {
            let interfaces = ifupdown::without_automatic_v6(interfaces);
            ifupdown::write(draft, &interfaces, version >= (3, 13))
        }
        Kind::Debian => ifupdown::write(draft, interfaces, version >= (10, 0)),
        Kind::Devuan => ifupdown::write(draft, interfaces, false),
        Kind::Ubuntu if version < (17, 10) => ifupdown::write(draft, interfaces, false),
        Kind::Arch | Kind::NixOs | Kind::Ubuntu => {
            networkd::write(draft, interfaces);
            Ok(())
        }
        Kind::CentOs if version >= (10, 0) => {
            redhat::network_manager(draft, settings);
            Ok(())
        }
        Kind::CentOs => redhat::network_scripts(draft, settings),
        Kind::Fedora => {
            // Some templates of the years between have both.
            let both = version <= (27, 99) && draft.has_file("/etc/sysconfig/network");
            if version < (25, 0) || both {
                redhat::network_scripts(draft, settings)?;
            }
            if version >= (25, 0) {
                networkd::write(draft, interfaces);
            }
            Ok(())
        }
        Kind::Gentoo => gentoo::network(draft, interfaces),
        Kind::Suse => {
            suse::write(draft, interfaces)?;
            if draft.has_file("/usr/lib/systemd/systemd-networkd") {
                networkd::write(draft, interfaces);
            }
            Ok(())
        }
    }
}

fn host_name(
    found: Option<&Distribution>,
    settings: &Settings,
    draft: &mut Draft<'_>,
) -> io::Result<()> {
    let (full, short) = (&settings.hostname, settings.short_name());
    let path = "/etc/hosts";
    let old = draft.read(path)?;
    let section =
        hosts_section(old.as_deref(), settings.address.as_deref(), full, &settings.search);
    draft.section(path, &section, Where::Append)?;
    match found.map(|found| found.kind) {
        Some(Kind::Gentoo) => gentoo::host_name(draft, short),
        Some(Kind::CentOs | Kind::Fedora) => {
            draft.write("/etc/hostname", format!("{full}\n"));
            redhat::host_name(draft, full)?;
        }
        Some(
            Kind::Alpine
            | Kind::Arch
            | Kind::Debian
            | Kind::Devuan
            | Kind::NixOs
            | Kind::Suse
            | Kind::Ubuntu,
        )
        | None => draft.write("/etc/hostname", format!("{short}\n")),
    }
    Ok(())
}

fn timezone(settings: &Settings, draft: &mut Draft<'_>) {
    let Some(zone) = &settings.timezone else { return };
    if !draft.has_file(&zone.file) {
        let file = &zone.file;
        draft.warn(format!("container does not have {file}, timezone can not be modified"));
        return;
    }
    draft.link(&zone.file, "/etc/localtime");
    if draft.has_file("/etc/timezone") {
        draft.write("/etc/timezone", format!("{}\n", zone.name));
    }
}

/// What a template lacks, or has too much.
fn template(found: &Distribution, settings: &Settings, draft: &mut Draft<'_>) -> io::Result<()> {
    let folder = tty_folder(found.kind, settings);
    match found.kind {
        Kind::Alpine => {
            for (level, services) in [
                ("boot", &["networking", "bootmisc", "hostname"][..]),
                ("shutdown", &["killprocs", "savecache"][..]),
            ] {
                for service in services {
                    draft.folder(&format!("/etc/runlevels/{level}"));
                    let link = format!("/etc/runlevels/{level}/{service}");
                    draft.link_if_missing(&format!("/etc/init.d/{service}"), &link);
                }
            }
            init::securetty(draft, folder)?;
            without_placeholder(draft)
        }
        Kind::Arch | Kind::Gentoo => {
            init::securetty(draft, folder)?;
            without_placeholder(draft)
        }
        Kind::CentOs => {
            if found.version < (7, 0) {
                redhat::old_template(draft)?;
            }
            locale(draft);
            init::securetty(draft, folder)?;
            without_placeholder(draft)?;
            init::mask_units(draft);
            Ok(())
        }
        Kind::Fedora => {
            init::securetty(draft, folder)?;
            draft.remove("/etc/systemd/system/getty@.service");
            without_placeholder(draft)
        }
        Kind::Suse => {
            init::securetty(draft, folder)?;
            locale(draft);
            draft.link_if_missing("/usr/share/zoneinfo/UTC", "/etc/localtime");
            without_placeholder(draft)
        }
        Kind::Ubuntu => {
            if ((17, 10)..(23, 4)).contains(&found.version) {
                for (wants, unit) in [("multi-user", "service"), ("sockets", "socket")] {
                    let folder = format!("/etc/systemd/system/{wants}.target.wants");
                    draft.folder(&folder);
                    let unit = format!("systemd-networkd.{unit}");
                    let target = format!("/lib/systemd/system/{unit}");
                    draft.link_if_missing(&target, &format!("{folder}/{unit}"));
                }
            }
            if found.version >= (17, 10) {
                draft.remove("/etc/netplan/10-lxc.yaml"); // it would set up eth0 a second time
            }
            Ok(())
        }
        Kind::Debian | Kind::Devuan | Kind::NixOs => Ok(()),
    }
}

/// systemd's first boot asks for it on a terminal that nobody looks at.
fn locale(draft: &mut Draft<'_>) {
    if !draft.has_file("/etc/locale.conf") {
        draft.write("/etc/locale.conf", "LANG=C.utf8\n");
    }
}

/// A line that the makers of some templates forgot to fill in.
fn without_placeholder(draft: &mut Draft<'_>) -> io::Result<()> {
    let path = "/etc/hosts";
    let Some(old) = draft.read(path)? else { return Ok(()) };
    let is = |line: &&str| line.split_whitespace().ne(["127.0.1.1", "LXC_NAME"]);
    let lines: String = old.lines().filter(is).map(|line| format!("{line}\n")).collect();
    draft.write(path, lines);
    Ok(())
}
