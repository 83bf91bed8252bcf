//! Which systemd a container has: a new one wants to nest, and says little when it may not.

use super::tree::Tree;

/// The last that does well without.
const MODEST: u32 = 241;
/// A link of a link is the most that distributions have.
const MOST_LINKS: usize = 10;

/// PVE's words, if they are due.
pub(super) fn nesting_advice(tree: &Tree) -> Option<String> {
    let version = version(tree).filter(|version| *version > MODEST)?;
    Some(format!("Systemd {version} detected. You may need to enable nesting."))
}

/// By the library that its program names, as the version is in no file.
fn version(tree: &Tree) -> Option<u32> {
    let mut init = "/sbin/init".to_owned();
    for _ in 0..MOST_LINKS {
        let Some(target) = tree.read_link(&init) else { break };
        let folder = init.rsplit_once('/').map_or("", |(folder, _)| folder);
        init = if target.starts_with('/') { target } else { format!("{folder}/{target}") };
    }
    if !init.ends_with("/systemd") {
        return None;
    }
    let program = tree.read(&init).ok()??;
    let name = b"libsystemd-shared-";
    let at = program.windows(name.len()).position(|part| part == name)?;
    let digits = program[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[rstest]
    #[case::new(
        "libsystemd-shared-257.so",
        Some("Systemd 257 detected. You may need to enable nesting.")
    )]
    #[case::with_release(
        "libsystemd-shared-252-14.el9.so",
        Some("Systemd 252 detected. You may need to enable nesting.")
    )]
    #[case::old("libsystemd-shared-241.so", None)]
    #[case::static_one("libc.so.6", None)]
    fn advises_by_version(#[case] library: &str, #[case] advice: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("usr/lib/systemd")).unwrap();
        fs_err::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        let program = format!("\x7fELF\0{library}\0");
        fs_err::write(dir.path().join("usr/lib/systemd/systemd"), program).unwrap();
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        symlink("usr/sbin", dir.path().join("sbin")).unwrap();
        symlink("../lib/systemd/systemd", dir.path().join("usr/sbin/init")).unwrap();
        let root =
            openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();

        assert_eq!(nesting_advice(&Tree::new(root)).as_deref(), advice);
    }
}
