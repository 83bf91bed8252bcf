//! Which containers answer, from one read of the kernel's socket table.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use crate::client::Client;

/// The names of all containers under `lxcpath` whose supervisor listens, or the guard of one.
///
/// Accepted connections carry the listener's name even after the listener is gone, so only sockets
/// that accept count. A name too long to show (see [`crate::socket_name`]) is asked for.
pub fn running(lxcpath: &Path) -> io::Result<BTreeSet<String>> {
    let table = read_table()?;
    let mut names = BTreeSet::new();
    for socket in listening(&table) {
        if let Some(name) = plain_name(socket, lxcpath) {
            names.insert(name);
        } else if is_hashed(socket) {
            names.extend(ask_name(socket, lxcpath));
        }
    }
    Ok(names)
}

/// Whether `running` might name any. Asks nobody, so it never waits.
pub fn any_running(lxcpath: &Path) -> io::Result<bool> {
    let table = read_table()?;
    let any = |socket| plain_name(socket, lxcpath).is_some() || is_hashed(socket);
    Ok(listening(&table).any(any))
}

fn read_table() -> io::Result<Vec<u8>> {
    let file =
        rustix::fs::openat(CWD, "/proc/net/unix", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut table = Vec::with_capacity(16 * 1024);
    io::Read::read_to_end(&mut std::fs::File::from(file), &mut table)?;
    Ok(table)
}

/// Abstract names of listening sockets, without the `@`.
fn listening(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        // Num RefCount Protocol Flags Type St Inode Path; a path may hold blanks.
        let mut fields = line.splitn(8, |byte| *byte == b' ').filter(|field| !field.is_empty());
        let flags = fields.nth(3)?;
        let at = line.iter().position(|byte| *byte == b'@')?;
        // __SO_ACCEPTCON of include/uapi/linux/net.h
        (flags == b"00010000").then(|| &line[at + 1..])
    })
}

fn plain_name(socket: &[u8], lxcpath: &Path) -> Option<String> {
    let rest = socket.strip_prefix(lxcpath.as_os_str().as_bytes())?.strip_prefix(b"/")?;
    let name = rest.strip_suffix(b"/command").or_else(|| rest.strip_suffix(b"/guard"));
    let name = name.filter(|name| !name.contains(&b'/') && !name.is_empty())?;
    String::from_utf8(name.to_vec()).ok()
}

fn is_hashed(socket: &[u8]) -> bool {
    let hash = socket.strip_prefix(b"lxc/").and_then(|rest| rest.strip_suffix(b"/command"));
    hash.is_some_and(|hash| hash.len() == 16 && hash.iter().all(u8::is_ascii_hexdigit))
}

fn ask_name(socket: &[u8], lxcpath: &Path) -> Option<String> {
    let client = Client::at(socket.to_vec()).timeout(Duration::from_millis(500));
    let path = client.lxcpath().ok()?;
    if path != lxcpath {
        return None;
    }
    client.name().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 27231 @/var/lib/lxc/101/command\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 27232 @/var/lib/lxc/102/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 27233 @/var/lib/lxc/a b/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 27234 /var/lib/lxc/103/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01  7235 @/other/104/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 27235 @/var/lib/lxc/105/guard\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 27236\n";

    #[test]
    fn counts_listeners_only() {
        let names: Vec<_> = listening(TABLE)
            .filter_map(|socket| plain_name(socket, Path::new("/var/lib/lxc")))
            .collect();
        assert_eq!(names, ["101", "a b", "105"]);
    }

    #[test]
    fn tells_a_hashed_name() {
        assert!(is_hashed(b"lxc/ad055575fe28ddd5/command"));
        assert!(!is_hashed(b"lxc/ad055575fe28ddd5//var/lib/lxc"));
        assert!(!is_hashed(b"lxc/100/command"));
    }
}
