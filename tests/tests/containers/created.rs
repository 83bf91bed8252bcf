//! What a new container finds inside that was in no template: root's password and keys, its name,
//! and its volumes where they belong.

use tests::{Content, Daemon, rootfs};

use crate::{PRIVILEGED, RAW, SMALL, SUBVOL, UNPRIVILEGED, sh};

const TEMPLATE: &str = "debian.tar.gz";
const PASSWORD: &str = "correct-horse";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHz6NFjVUZSaqwMUsTsGSgeHW0NdSmGjWbNQcwpBEZgR me@box";

/// One that takes itself for a Debian.
fn daemon() -> Daemon {
    tests::require_machine();
    let daemon = Daemon::start();
    let content = Content::default()
        .file("etc/os-release", 0o644, "ID=debian\n")
        .file("etc/debian_version", 0o644, "13.1\n")
        .file("etc/shadow", 0o640, "root:*:19000:0:99999:7:::\n")
        .file("etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n")
        .file("srv/data/greeting", 0o644, "from the template\n")
        .file("srv/data/deep/er", 0o600, "deeper\n");
    rootfs(&daemon.templates(), TEMPLATE, &content);
    daemon
}

#[rstest::rstest]
#[case::folder(SUBVOL, UNPRIVILEGED)]
#[case::image(RAW, PRIVILEGED)]
fn root_has_a_password_and_keys(#[case] volume: (&str, &str), #[case] kind: (&str, &str)) {
    let daemon = daemon();
    let script = sh("cat /etc/shadow /root/.ssh/authorized_keys /etc/hosts /etc/hostname; \
         stat -c \"%n %a %u:%g\" /etc/shadow /root/.ssh /root/.ssh/authorized_keys; \
         test ! -e /etc/machine-id && cat /etc/resolv.conf");
    let parameters = [
        SMALL,
        volume,
        kind,
        ("entrypoint", &script),
        ("hostname", "web.example"),
        ("password", PASSWORD),
        ("ssh-public-keys", KEY),
    ];

    let task = daemon.try_create(100, TEMPLATE, &parameters);

    let log = task.ok();
    assert!(!log.contains(PASSWORD) && !log.contains("$6$"), "{log}");
    let seen = daemon.guest(100).ends_well();
    let hash = seen.lines().find_map(|line| line.strip_prefix("root:$6$")).expect(&seen);
    assert!(hash.split_once('$').is_some_and(|(salt, _)| salt.len() == 16), "{seen}");
    for line in [
        KEY,
        "127.0.1.1 web.example web",
        "web",
        "# --- END PVE ---",
        "/etc/shadow 640 0:0",
        "/root/.ssh 700 0:0",
        "/root/.ssh/authorized_keys 600 0:0",
    ] {
        assert!(seen.lines().any(|seen| seen.trim_end() == line), "no {line:?} in:\n{seen}");
    }
    daemon.guest(100).destroy();
}

#[rstest::rstest]
#[case::folder("local:0", UNPRIVILEGED)]
#[case::image("local:0.03125", UNPRIVILEGED)]
#[case::privileged("local:0.03125", PRIVILEGED)]
fn a_volume_gets_what_the_template_has_below_its_place(
    #[case] volume: &str,
    #[case] kind: (&str, &str),
) {
    let daemon = daemon();
    let shared = tempfile::tempdir().unwrap();
    fs_err::write(shared.path().join("host"), "the host's\n").unwrap();
    fs_err::set_permissions(shared.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let script = sh("cat /srv/data/greeting /srv/data/deep/er /srv/host/host; \
         echo more >>/srv/data/greeting && echo wrote; \
         echo x >/srv/host/host || echo read-only; grep /srv/ /proc/mounts");
    let bind = format!("{},mp=/srv/host,ro=1", shared.path().display());
    let parameters =
        [SMALL, SUBVOL, kind, ("entrypoint", &script), ("mp0", &format!("{volume},mp=/srv/data"))];
    let guest = daemon.create(100, TEMPLATE, &parameters);
    // The API lets root@pam itself name a folder of the host, and nobody else.
    guest.add_lines(&format!("mp1: {bind}\n"));

    let seen = guest.ends_well();

    for line in ["from the template", "deeper", "the host's", "wrote", "read-only"] {
        assert!(seen.lines().any(|seen| seen == line), "no {line:?} in:\n{seen}");
    }
    assert!(guest.ends_well().contains("from the template\nmore\n"));
    let rootfs = guest.config()["rootfs"].as_str().unwrap().to_owned();
    let rootfs = rootfs.split([',', ':']).nth(1).unwrap();
    let hidden = daemon.root().join("var/lib/vz/images").join(rootfs).join("srv/data/greeting");
    assert!(!hidden.exists(), "the template's file is below the volume, not in it");
    guest.destroy();
    assert!(shared.path().join("host").exists());
}

#[rstest::rstest]
#[case::folder(SUBVOL)]
#[case::image(RAW)]
fn a_create_that_is_aborted_leaves_nothing(#[case] volume: (&str, &str)) {
    let daemon = daemon();
    // At this pace the template takes minutes.
    let parameters = [SMALL, volume, UNPRIVILEGED, ("bwlimit", "1")];
    let reply = daemon.post_create(100, TEMPLATE, &parameters);
    let upid = reply.data().as_str().unwrap().to_owned();
    let volumes = daemon.root().join("var/lib/vz/images/100");
    tests::eventually(30, "an unpacking under way", || {
        let under_way =
            fs_err::read_dir(&volumes).is_ok_and(|mut entries| entries.next().is_some());
        (under_way && tests::processes_of(daemon.root()).len() > 1).then_some(())
    });
    assert_eq!(daemon.guest(100).config()["lock"], "create");

    let asked = std::time::Instant::now();
    assert!(daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).data().is_null());

    let ended = daemon.task(&reply).failed();
    assert_eq!(ended, "unable to create CT 100 - received interrupt");
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
    assert!(!daemon.config_path(100).exists());
    assert!(fs_err::read_dir(&volumes).map_or(true, |entries| entries.count() == 0));
    let journals = daemon.root().join("var/lib/proxmox-lxcri/creating");
    assert!(fs_err::read_dir(journals).map_or(true, |entries| entries.count() == 0));
    // The number is free again.
    daemon.create(100, TEMPLATE, &[SMALL, volume, UNPRIVILEGED]).destroy();
}
