//! Huge pages, which User Mode Linux has none of: in Debian's own kernel, by `tests/vm/run --qemu`.

use rstest::rstest;
use serde_json::Value;
use tests::{Content, rootfs};

use crate::limits::{PATH, limit};
use crate::runtimes::daemon;
use crate::{SMALL, SUBVOL, UNPRIVILEGED, sh};

const TEMPLATE: &str = "huge.tar.gz";

/// Pages that there are, but not for it.
#[rstest]
#[case::crun("crun")]
#[case::lxc("lxc")]
fn huge_pages_are_as_many_as_it_may_have(#[case] runtime: &str) {
    fs_err::write("/proc/sys/vm/nr_hugepages", "8").unwrap();
    let daemon = daemon(runtime);
    let huge = fs_err::read(env!("LXCRI_HUGE")).unwrap();
    rootfs(&daemon.templates(), TEMPLATE, &Content::default().file("bin/huge", 0o755, huge));
    let script = sh("echo ready; while read -r line; do /bin/huge 6; done </pipe");
    let guest =
        daemon.create(100, TEMPLATE, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.add_oci_lines("hugepages: 2M=4\n");
    // Each line into the pipe has it try once more.
    let made = guest.subvol().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &made, 0o666.into()).unwrap();
    let writer = fs_err::OpenOptions::new().read(true).write(true).open(&made).unwrap();
    let again = |expected: &str| {
        std::io::Write::write_all(&mut writer.file(), b"again\n").unwrap();
        guest.wait_for_output(expected);
    };
    guest.start();
    guest.wait_for_output("ready");
    again("filled 2");
    assert_eq!(limit(&guest, "hugetlb.2MB.max"), (4 << 20).to_string());
    assert_eq!(daemon.put(PATH, &[("hugepages", "2M=6")]).data(), Value::Null);
    again("filled 3");
    assert_eq!(daemon.put(PATH, &[("delete", "hugepages")]).data(), Value::Null);
    again("filled 6");
    guest.stop();
    guest.destroy();
    fs_err::write("/proc/sys/vm/nr_hugepages", "0").unwrap();
}
