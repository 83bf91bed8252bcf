//! What LXC's own log says of a failure. Its lines are
//! `lxc-start 100 20240101120000.000 ERROR    start - ../src/lxc/start.c:start:2197 - message`.

use std::path::{Path, PathBuf};

use crate::guest::{Guest, tell};

const UNKNOWN: &str = "it does not say why";

/// The first, from which the others follow.
pub(crate) fn first_error(log: &Path) -> String {
    errors(&read(log)).next().unwrap_or(UNKNOWN).to_owned()
}

/// The kernel refuses a program only after everything else has succeeded.
pub(super) fn exec_failure(log: &Path) -> Option<String> {
    let log = read(log);
    errors(&log).find(|line| line.contains("Failed to exec")).map(str::to_owned)
}

/// All of it so far.
pub(super) fn tell_all(log: &Path) {
    tell(&read(log));
}

/// Of a container of the daemon's.
pub(super) fn path(guest: &Guest) -> PathBuf {
    guest.root.guest_run(guest.vmid).join(super::LOG)
}

fn read(path: &Path) -> String {
    let bytes = fs_err::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn errors(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| {
        let (head, rest) = line.split_once(" - ")?;
        head.split_whitespace().any(|word| word == "ERROR").then_some(())?;
        let (_place, message) = rest.split_once(" - ")?;
        Some(message.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
lxc-start 100 20240101120000.000 WARN     conf - ../src/lxc/conf.c:lxc_map_ids:3628 - newuidmap binary is missing\n\
lxc-start 100 20240101120000.100 ERROR    conf - ../src/lxc/conf.c:mount_entry:2454 - No such device - Failed to mount \"mqueue\"\n\
lxc-start 100 20240101120000.200 ERROR    start - ../src/lxc/start.c:start:2197 - Exec format error - Failed to exec \"/x\"\n\
half a line";

    #[test]
    fn finds_the_first_error_and_its_cause() {
        let found: Vec<_> = errors(LOG).collect();
        assert_eq!(
            found,
            [
                "No such device - Failed to mount \"mqueue\"",
                "Exec format error - Failed to exec \"/x\""
            ]
        );
    }
}
