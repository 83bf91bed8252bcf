//! Each fault gives one clear line that names the cause, leaves nothing behind and loses no config.
//! That nothing is left is checked when the daemon of each test goes.

use std::process::Command;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tests::{Content, Daemon, Guest, eventually, processes_of, rootfs};

use crate::{BUSYBOX, PATIENT, RAW, SMALL, SUBVOL, UNPRIVILEGED, daemon, sh};

/// The start fails with a line that contains each of `words`, the config stays as it was, and the
/// container is just stopped.
#[track_caller]
fn start_fails(daemon: &Daemon, guest: &Guest<'_>, words: &[&str]) {
    let before = fs_err::read(daemon.config_path(guest.vmid)).unwrap();
    let reply = guest.post("start", &[]);
    let error = if reply.status == 200 { daemon.task(&reply).failed() } else { reply.reason };
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert_eq!(fs_err::read(daemon.config_path(guest.vmid)).unwrap(), before);
    assert_eq!(guest.status(), "stopped");
}

fn edit(daemon: &Daemon, vmid: u32, change: impl FnOnce(String) -> String) {
    let path = daemon.config_path(vmid);
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, change(text)).unwrap();
}

/// Put `line` where the key's own line was.
fn replace_key(daemon: &Daemon, vmid: u32, key: &str, line: &str) {
    edit(daemon, vmid, |text| {
        let others = text.lines().filter(|line| !line.starts_with(&format!("{key}:")));
        others.chain([line]).map(|line| format!("{line}\n")).collect()
    });
}

fn rootfs_of(guest: &Guest<'_>) -> String {
    guest.config()["rootfs"].as_str().unwrap().to_owned()
}

#[rstest]
#[case::entrypoint_missing("/bin/nothing-here", &["/bin/nothing-here", "not found"])]
#[case::entrypoint_not_in_path("nothing-here --now", &["nothing-here", "not found"])]
#[case::entrypoint_not_executable("/etc/passwd", &["/etc/passwd", "not executable"])]
#[case::entrypoint_is_a_folder("/etc", &["/etc"])]
#[case::entrypoint_half_quoted("/bin/sh -c \"exit", &["entrypoint"])]
#[case::entrypoint_default_missing("/sbin/init", &["/sbin/init"])]
fn an_entrypoint_that_cannot_run(#[case] entrypoint: &str, #[case] words: &[&str]) {
    let daemon = daemon();
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]);
    replace_key(&daemon, 100, "entrypoint", &format!("entrypoint: {entrypoint}"));
    start_fails(&daemon, &guest, words);
    // And is no obstacle once it is put right.
    assert_eq!(guest.put_config(&[("entrypoint", "/bin/true")]).status, 200);
    guest.start();
    assert_eq!(guest.wait()["exit_code"], 0);
    guest.destroy();
}

#[test]
fn a_rootfs_that_is_gone() {
    let daemon = daemon();
    for (vmid, volume) in [(100, SUBVOL), (101, RAW)] {
        let guest = daemon.create(vmid, BUSYBOX, &[volume, SMALL, UNPRIVILEGED]);
        let folder = daemon.root().join(format!("var/lib/vz/images/{vmid}"));
        let away = daemon.root().join("away");
        fs_err::rename(&folder, &away).unwrap();
        start_fails(&daemon, &guest, &[&format!("{vmid}-disk-0"), "does not exist"]);
        fs_err::rename(&away, &folder).unwrap();
        guest.destroy();
    }
}

#[test]
fn an_image_that_holds_no_file_system() {
    let daemon = daemon();
    let guest = daemon.create(100, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED]);
    let image = daemon.root().join("var/lib/vz/images/100/vm-100-disk-0.raw");
    fs_err::write(&image, vec![b'x'; 1 << 20]).unwrap();
    start_fails(&daemon, &guest, &["vm-100-disk-0.raw"]);
    guest.destroy();
}

#[rstest]
#[case::storage_missing("rootfs: nope:100/vm-100-disk-0.raw,size=64M", &["storage 'nope' does not exist"])]
#[case::rootfs_escapes("rootfs: local:../../../../etc/passwd", &["etc/passwd"])]
#[case::rootfs_is_nonsense("rootfs: ,,,=", &["rootfs"])]
#[case::rootfs_absent("", &["rootfs"])]
fn a_rootfs_line_that_leads_nowhere(#[case] line: &str, #[case] words: &[&str]) {
    let daemon = daemon();
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]);
    let right = rootfs_of(&guest);
    replace_key(&daemon, 100, "rootfs", line);
    start_fails(&daemon, &guest, words);
    replace_key(&daemon, 100, "rootfs", &format!("rootfs: {right}"));
    guest.destroy();
}

#[test]
fn a_config_of_rubbish_names_the_lines_and_harms_no_other() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")]);
    let good = fs_err::read(daemon.config_path(100)).unwrap();
    fs_err::write(daemon.config_path(101), b"\x00\xff\xfe rubbish\nmemory: lots\nrootfs\n")
        .unwrap();
    let other = daemon.guest(101);
    start_fails(&daemon, &other, &["rootfs"]);
    // The list shows both, and the good one runs.
    assert_eq!(daemon.get("/nodes/pve1/lxc").data().as_array().unwrap().len(), 2);
    guest.start();
    assert_eq!(guest.wait()["exit_code"], 0);
    assert_eq!(fs_err::read(daemon.config_path(100)).unwrap(), good);
    fs_err::remove_file(daemon.config_path(101)).unwrap();
    guest.destroy();
}

#[test]
fn a_config_that_is_missing() {
    let daemon = daemon();
    let missing = "500 Configuration file 'nodes/pve1/lxc/100.conf' does not exist";
    let guest = daemon.guest(100);
    let start = guest.task("start", &[]).failed();
    assert_eq!(format!("500 {start}"), missing);
    for verb in ["stop", "shutdown", "reboot", "suspend"] {
        let line = guest.post(verb, &[]).line();
        assert!(line.ends_with("not running") || line == missing, "{verb}: {line}");
    }
    assert_eq!(guest.delete().line(), missing);
}

#[test]
fn memory_below_the_minimum() {
    let daemon = daemon();
    let reply = daemon.post_create(100, BUSYBOX, &[SUBVOL, ("memory", "8")]);
    assert_eq!(reply.errors()["memory"], "value must have a minimum value of 16");
    assert!(!daemon.config_path(100).exists());

    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]);
    edit(&daemon, 100, |text| text.replace("memory: 64", "memory: 8"));
    start_fails(&daemon, &guest, &["memory", "16"]);
    guest.destroy();
}

#[test]
fn a_bridge_that_does_not_exist() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")]);
    edit(&daemon, 100, |text| format!("{text}net0: name=eth0,bridge=vmbr9,type=veth\n"));
    start_fails(&daemon, &guest, &["bridge 'vmbr9' does not exist"]);
    guest.destroy();
}

#[test]
fn a_bundle_that_is_half_written_is_written_again() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")]);
    guest.start();
    guest.wait();
    let run = daemon.root().join("run/proxmox-lxcri/100");
    fs_err::create_dir_all(&run).unwrap();
    fs_err::write(run.join("config.json"), "{\"ociVersion\":").unwrap();
    fs_err::write(run.join("exit.json"), "{").unwrap();
    guest.start();
    assert_eq!(guest.wait()["exit_code"], 0);
    guest.destroy();
}

#[test]
fn an_image_too_small_for_the_template() {
    let daemon = daemon();
    let noise = fs_err::read(tests::binary("proxmox-lxcri")).unwrap();
    let content = Content::default().file("opt/large", 0o644, &noise[..noise.len().min(24 << 20)]);
    rootfs(&daemon.templates(), "large.tar.gz", &content);
    let error = daemon
        .try_create(100, "large.tar.gz", &[("rootfs", "local:0.0078125"), SMALL, UNPRIVILEGED])
        .failed();
    assert!(error.contains("opt/large") && error.contains("No space left on device"), "{error}");
    assert!(!daemon.config_path(100).exists());
    assert!(!daemon.root().join("var/lib/vz/images/100").exists());
}

#[test]
fn a_storage_that_is_full() {
    let daemon = daemon();
    let images = daemon.root().join("var/lib/vz/images");
    fs_err::create_dir_all(&images).unwrap();
    let mount = |arguments: &[&str]| {
        assert!(Command::new(arguments[0]).args(&arguments[1..]).status().unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "full", images.to_str().unwrap()]);
    let error = daemon.try_create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]).failed();
    let left: Vec<_> = fs_err::read_dir(&images).unwrap().collect();
    mount(&["umount", images.to_str().unwrap()]);
    assert!(error.contains("No space left on device") && error.contains("bin/busybox"), "{error}");
    assert!(left.is_empty(), "{left:?}");
    assert!(!daemon.config_path(100).exists());
    // With room again the same number is free.
    daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]).destroy();
}

#[rstest]
#[case::missing("nothing.tar.gz", None, &["nothing.tar.gz", "does not exist"])]
#[case::no_archive("text.tar.gz", Some("hello, this is text"), &["not an archive"])]
#[case::empty("empty.tar.gz", Some(""), &["not an archive"])]
fn a_template_that_is_none(
    #[case] name: &str,
    #[case] content: Option<&str>,
    #[case] words: &[&str],
) {
    let daemon = daemon();
    if let Some(content) = content {
        fs_err::write(daemon.templates().join(name), content).unwrap();
    }
    let reply = daemon.post_create(100, name, &[SUBVOL, SMALL, UNPRIVILEGED]);
    let error = if reply.status == 200 { daemon.task(&reply).failed() } else { reply.reason };
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert!(!daemon.config_path(100).exists());
    assert!(!daemon.root().join("var/lib/vz/images/100").exists());
}

#[test]
fn a_template_that_ends_half_way() {
    let daemon = daemon();
    let whole = fs_err::read(daemon.templates().join(BUSYBOX)).unwrap();
    fs_err::write(daemon.templates().join("half.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    let error = daemon.try_create(100, "half.tar.gz", &[RAW, SMALL, UNPRIVILEGED]).failed();
    assert!(error.contains("ends too early"), "{error}");
    assert!(!daemon.config_path(100).exists());
    assert!(!daemon.root().join("var/lib/vz/images/100").exists());
}

#[test]
fn a_device_folder_that_is_a_link_is_refused() {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")]);
    let root = guest.subvol();
    fs_err::remove_dir_all(root.join("dev")).unwrap();
    std::os::unix::fs::symlink("/tmp", root.join("dev")).unwrap();
    start_fails(&daemon, &guest, &["/dev"]);
    guest.destroy();
}

#[test]
fn the_daemon_is_killed_while_it_creates() {
    let mut daemon = daemon();
    let noise = fs_err::read(tests::binary("proxmox-lxcri")).unwrap();
    let mut content = Content::default();
    for number in 0..12 {
        content = content.file(&format!("opt/{number}"), 0o644, &noise[..noise.len().min(8 << 20)]);
    }
    rootfs(&daemon.templates(), "slow.tar.xz", &content);
    for (vmid, volume) in [(100, SUBVOL), (101, ("rootfs", "local:0.25"))] {
        let options = [volume, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")];
        assert_eq!(daemon.post_create(vmid, "slow.tar.xz", &options).status, 200);
        eventually(20, "an unpacking", || {
            processes_of(daemon.root()).iter().find(|(_, line)| line.contains("unpack")).map(|_| ())
        });
        daemon.kill();
        daemon.launch();
        // Whatever is left is gone, or marked and removed when the number is used again.
        let options = [volume, SMALL, UNPRIVILEGED, ("entrypoint", "/bin/true")];
        eventually(30, "the number is free again", || {
            (!daemon.config_path(vmid).exists()).then_some(())
        });
        let guest = daemon.create(vmid, BUSYBOX, &options);
        guest.start();
        assert_eq!(guest.wait()["exit_code"], 0);
        guest.destroy();
        assert!(!daemon.root().join(format!("var/lib/vz/images/{vmid}")).exists());
    }
}

#[test]
fn the_daemon_is_killed_while_it_starts_one() {
    let mut daemon = daemon();
    daemon.create(100, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    for delay in [0, 5, 20, 60, 150] {
        let upid = daemon.guest(100).post("start", &[]).data().as_str().unwrap().to_owned();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        daemon.kill();
        daemon.launch();
        // The task is over whatever became of it, and the container is either there or not.
        let task = daemon.task_of(&upid);
        assert!(
            ["OK", "unexpected status"].contains(&task.exitstatus.as_str()),
            "{}",
            task.exitstatus
        );
        let guest = daemon.guest(100);
        let first = eventually(10, "a settled state", || {
            let now = guest.status();
            std::thread::sleep(std::time::Duration::from_millis(300));
            (guest.status() == now).then_some(now)
        });
        if first == "stopped" {
            guest.start();
        }
        guest.wait_for_output("ready");
        guest.stop();
    }
    daemon.guest(100).destroy();
}

pub(crate) fn monitor_of(daemon: &Daemon, vmid: u32) -> i32 {
    let wanted = format!(" run --root {} ", daemon.root().display());
    let found = processes_of(daemon.root());
    let monitor = found.iter().find(|(_, line)| {
        line.contains("lxcri-monitor run") && line.trim_end().ends_with(&format!(" {vmid}"))
    });
    monitor.unwrap_or_else(|| panic!("no monitor{wanted}among {found:?}")).0
}

#[rstest]
#[case::folder(SUBVOL)]
#[case::image(RAW)]
fn a_monitor_is_killed(#[case] volume: (&str, &str)) {
    let daemon = daemon();
    let guest =
        daemon.create(100, BUSYBOX, &[volume, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    guest.start();
    guest.wait_for_output("ready");
    let monitor = Pid::from_raw(monitor_of(&daemon, 100)).unwrap();
    kill_process(monitor, Signal::KILL).unwrap();
    eventually(10, "it is shown as stopped", || (guest.status() == "stopped").then_some(()));
    // The next start removes what is left, and there is one container and not two.
    guest.start();
    guest.wait_for_output("ready");
    let inits = processes_of_cgroup(&guest);
    assert!(inits <= 2, "{inits} processes in its cgroup");
    guest.stop();
    guest.destroy();
}

#[test]
fn a_container_whose_monitor_was_killed_can_be_destroyed() {
    let daemon = daemon();
    let guest = daemon.create(100, BUSYBOX, &[RAW, SMALL, UNPRIVILEGED, ("entrypoint", PATIENT)]);
    guest.start();
    guest.wait_for_output("ready");
    let monitor = Pid::from_raw(monitor_of(&daemon, 100)).unwrap();
    kill_process(monitor, Signal::KILL).unwrap();
    eventually(10, "it is shown as stopped", || (guest.status() == "stopped").then_some(()));
    guest.destroy();
}

fn processes_of_cgroup(guest: &Guest<'_>) -> usize {
    let cgroup = guest.oci()["cgroup"].as_str().unwrap().trim_matches('/').to_owned();
    let list = format!("/sys/fs/cgroup/{cgroup}/cgroup.procs");
    fs_err::read_to_string(list).unwrap().lines().count()
}

#[test]
fn a_monitor_program_that_is_not_there() {
    tests::require_machine();
    let builder = Daemon::builder().option("--lxc-monitor").option("/nowhere/lxcri-lxc-monitor");
    let daemon = builder.start();
    rootfs(&daemon.templates(), BUSYBOX, &Content::default());
    let error = daemon.try_create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED]).failed();
    assert!(error.contains("/nowhere/lxcri-lxc-monitor"), "{error}");
    assert!(!daemon.config_path(100).exists());
}

#[test]
fn output_without_end_does_not_fill_memory_or_stop_the_container() {
    let daemon = daemon();
    let script = sh(
        "i=0; while [ $i -lt 3000 ]; do echo line $i of some length to fill the pipe and more; i=$((i+1)); done; echo done",
    );
    let guest =
        daemon.create(100, BUSYBOX, &[SUBVOL, SMALL, UNPRIVILEGED, ("entrypoint", &script)]);
    guest.start();
    assert_eq!(guest.wait()["exit_code"], 0);
    assert!(guest.output().trim_end().ends_with("done"));
    guest.destroy();
}
