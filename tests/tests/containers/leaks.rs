//! Many lives in a row leave the daemon and the machine as they were.

use tests::{descriptors, eventually, left_behind};

use crate::{BUSYBOX, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon};

#[test]
fn two_hundred_lives_leave_nothing() {
    let cycles: u32 =
        std::env::var("LXCRI_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let daemon = daemon();
    let mut before = None;
    for cycle in 0..cycles {
        // The first ten warm up what is kept on purpose: threads, caches.
        if cycle == 10.min(cycles / 2) {
            before = Some((descriptors(daemon.pid()), resident(daemon.pid())));
        }
        let volume = if cycle % 10 == 0 { RAW } else { SUBVOL };
        let guest = daemon.create(
            100,
            BUSYBOX,
            &[volume, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")],
        );
        guest.start();
        assert_eq!(guest.wait()["exit_code"], 0);
        guest.destroy();
    }
    let (descriptors_before, resident_before) = before.unwrap();
    eventually(10, "the daemon's descriptors are those it had", || {
        (descriptors(daemon.pid()) <= descriptors_before).then_some(())
    });
    let left: Vec<_> = left_behind(daemon.root())
        .into_iter()
        .filter(|line| !line.contains("proxmox-lxcri serve"))
        .collect();
    assert!(left.is_empty(), "{}", left.join("\n"));
    let grown = resident(daemon.pid()).saturating_sub(resident_before);
    assert!(grown < 8 << 10, "the daemon grew by {grown} KiB in {cycles} lives");
    let images: Vec<_> =
        fs_err::read_dir(daemon.root().join("var/lib/vz/images")).unwrap().collect();
    assert!(images.is_empty(), "{images:?}");
}

/// KiB.
fn resident(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
