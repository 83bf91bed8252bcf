//! What starts a login on each terminal, and what init leaves alone in a container.

use std::io;

use super::draft::Draft;

const WANTS: &str = "/etc/systemd/system/getty.target.wants";
/// Terminals that a container may have.
const MOST_TTYS: u32 = 6;
/// Mount kernel file systems that a container is not given.
const NOT_IN_A_CONTAINER: [&str; 2] = ["sys-kernel-config.mount", "sys-kernel-debug.mount"];

pub(super) fn is_systemd(draft: &Draft<'_>) -> bool {
    draft.read_link("/sbin/init").is_some_and(|target| target.ends_with("/systemd"))
}

fn unit_folder(draft: &Draft<'_>) -> &'static str {
    if draft.is_program("/lib/systemd/systemd") {
        "/lib/systemd/system"
    } else {
        "/usr/lib/systemd/system"
    }
}

/// systemd's template is for pseudo-terminals; the container's are `tty1` and so on, below `folder`.
pub(super) fn container_gettys(draft: &mut Draft<'_>, ttys: u32, folder: &str) -> io::Result<()> {
    let template = format!("{}/container-getty@.service", unit_folder(draft));
    let Some(unit) = draft.read(&template)? else { return Ok(()) };
    let name = format!("{folder}tty%I");
    let unit = unit.replace("lxc/tty%I", "pts/%I").replace("pts/%I", &name);
    draft.write(&template, unit);
    if ttys > 0 {
        draft.folder(WANTS);
    }
    for number in 1..=MOST_TTYS {
        // Never two on one terminal.
        draft.remove(&format!("{WANTS}/getty@tty{number}.service"));
        let service = format!("{WANTS}/container-getty@{number}.service");
        if number <= ttys {
            draft.link(&template, &service);
        } else {
            draft.remove(&service);
        }
    }
    // Masked in some templates.
    draft.remove("/etc/systemd/system/getty.target");
    Ok(())
}

/// A systemd without `container-getty@` wants a `/dev/tty0`, which no container has.
pub(super) fn old_getty(draft: &mut Draft<'_>) -> io::Result<()> {
    let folder = unit_folder(draft);
    let path = format!("{folder}/getty@.service");
    let Some(unit) = draft.read(&path)? else { return Ok(()) };
    let (tty0, tty) = ("ConditionPathExists=/dev/tty0", "ConditionPathExists=/dev/tty");
    let (from, to) = if draft.has_file(&format!("{folder}/container-getty@.service")) {
        (tty, tty0) // systemd was updated since
    } else {
        (tty0, tty)
    };
    let lines = unit.split('\n').map(|line| if line == from { to } else { line });
    let unit = lines.collect::<Vec<_>>().join("\n");
    draft.write(&path, unit);
    Ok(())
}

/// Read by systemd at the first boot of a machine, one without an id.
pub(super) fn preset(draft: &mut Draft<'_>, networkd: Option<bool>) {
    let mut lines = vec![
        ("container-getty@.service", true),
        ("getty@.service", false),
        ("sys-kernel-config.mount", false),
        ("sys-kernel-debug.mount", false),
    ];
    lines.extend(networkd.map(|enabled| ("systemd-networkd.service", enabled)));
    lines.sort_unstable();
    let mut text = "# Written by proxmox-lxcri, for the first boot.\n".to_owned();
    for (unit, enabled) in lines {
        text += &format!("{} {unit}\n", if enabled { "enable" } else { "disable" });
    }
    draft.folder("/etc/systemd/system-preset");
    draft.write("/etc/systemd/system-preset/00-pve.preset", text);
}

/// Static ones, which no preset reaches.
pub(super) fn mask_units(draft: &mut Draft<'_>) {
    for unit in NOT_IN_A_CONTAINER {
        draft.link_if_missing("/dev/null", &format!("/etc/systemd/system/{unit}"));
    }
}

/// Whose lines a distribution's `/etc/inittab` has for a terminal.
pub(super) struct Inittab {
    /// Whether a line begins as one of the distribution's that starts a getty.
    pub(super) is_getty: fn(id: &str) -> bool,
    /// Lines beside them that a container has no use for.
    pub(super) is_unwanted: fn(line: &str) -> bool,
    pub(super) before: &'static str,
    pub(super) line: fn(number: u32) -> String,
}

pub(super) fn inittab(draft: &mut Draft<'_>, ttys: u32, form: &Inittab) -> io::Result<()> {
    let path = "/etc/inittab";
    let Some(old) = draft.read(path)? else { return Ok(()) };
    let mut new = String::new();
    for line in old.trim_end_matches('\n').split('\n') {
        if !is_getty(line, form.is_getty) && !(form.is_unwanted)(line) {
            new += line;
            new.push('\n');
        }
    }
    new += form.before;
    for number in 1..=ttys {
        new += &(form.line)(number);
    }
    draft.write(path, new);
    Ok(())
}

/// `id:levels:action:process`.
fn is_getty(line: &str, is_id: fn(&str) -> bool) -> bool {
    let mut fields = line.trim_start().splitn(4, ':');
    let (Some(id), Some(levels), Some(_action), Some(process)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    is_id(id) && levels.bytes().all(|byte| byte.is_ascii_digit()) && process.contains("getty")
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where root may log in. Without the file everywhere.
pub(super) fn securetty(draft: &mut Draft<'_>, folder: &str) -> io::Result<()> {
    let path = "/etc/securetty";
    let Some(mut text) = draft.read(path)? else { return Ok(()) };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for name in ["console", "tty1", "tty2", "tty3", "tty4"] {
        let name = format!("{folder}{name}");
        if !text.lines().any(|line| line.trim_end() == name) {
            text += &format!("{name}\n");
        }
    }
    draft.write(path, text);
    Ok(())
}

/// Upstart's jobs, one a terminal.
pub(super) fn upstart(draft: &mut Draft<'_>, ttys: u32) {
    for number in 1..=MOST_TTYS {
        let path = format!("/etc/init/tty{number}.conf");
        if number > ttys {
            draft.remove(&path);
            continue;
        }
        draft.write(
            &path,
            format!(
                "# A login on tty{number}, from the end of the boot until the shutdown.\n\
                 start on stopped rc RUNLEVEL=[2345] and (not-container or container)\n\
                 stop on runlevel [!2345]\n\
                 respawn\n\
                 exec /sbin/getty -8 38400 tty{number}\n"
            ),
        );
    }
}
