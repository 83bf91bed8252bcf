//! The abstract name of a container's command socket.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The abstract socket name (without the leading NUL, without a trailing one) on which the
/// container `name` under `lxcpath` answers.
///
/// LXC keeps `<lxcpath>/<name>/command` while it is shorter than 106 bytes and hashes
/// `<lxcpath>/<name>` otherwise, for `sun_path` holds 108 (`lxc_make_abstract_socket_name`,
/// src/lxc/commands_utils.c).
pub fn socket_name(lxcpath: &Path, name: &str) -> Vec<u8> {
    abstract_name(lxcpath, name, "lxc", "command")
}

/// The abstract socket name of whoever called `lxc-start` for a container and cleans up after it. On
/// it nothing is said: that somebody listens is all there is to know. No name of LXC's own.
pub fn guard_name(lxcpath: &Path, name: &str) -> Vec<u8> {
    abstract_name(lxcpath, name, "lxcri", "guard")
}

fn abstract_name(lxcpath: &Path, name: &str, hashed: &str, end: &str) -> Vec<u8> {
    let mut path = lxcpath.as_os_str().as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    let hash = fnv1a(&path);
    path.push(b'/');
    path.extend_from_slice(end.as_bytes());
    if path.len() < 106 { path } else { format!("{hashed}/{hash:016x}/{end}").into_bytes() }
}

/// FNV-1a with 64 bits, as `fnv_64a_buf` in LXC's src/lxc/utils.c.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_short_path() {
        assert_eq!(socket_name(Path::new("/var/lib/lxc"), "101"), b"/var/lib/lxc/101/command");
    }

    #[test]
    fn a_guard_has_a_name_of_its_own() {
        let long = format!("/{}", "a".repeat(100));
        assert_eq!(guard_name(Path::new("/var/lib/lxc"), "101"), b"/var/lib/lxc/101/guard");
        assert!(guard_name(Path::new(&long), "101").starts_with(b"lxcri/"));
    }

    #[test]
    fn hashes_from_106_bytes_on() {
        // "/" + n + "/100/command" is n + 13 bytes long.
        let longest_plain = format!("/{}", "a".repeat(92));
        assert_eq!(socket_name(Path::new(&longest_plain), "100").len(), 105);
        let hashed = format!("/{}", "a".repeat(93));
        let name = String::from_utf8(socket_name(Path::new(&hashed), "100")).unwrap();
        assert_eq!(name.len(), "lxc/0123456789abcdef/command".len());
        assert!(name.starts_with("lxc/"), "{name}");
    }

    #[test]
    fn hashes_as_lxc_does() {
        // PVE::LXC::Monitor carries this constant for the monitor socket of /var/lib/lxc.
        assert_eq!(fnv1a(b"lxc//var/lib/lxc/monitor-sock"), 0xad05_5575_fe28_ddd5);
    }
}
