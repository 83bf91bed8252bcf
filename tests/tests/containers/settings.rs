//! Editing the config of a container that is there.

use crate::{BUSYBOX, PATIENT, SUBVOL, UNPRIVILEGED, daemon};

#[test]
fn an_edit_is_there_at_the_next_start() {
    let daemon = daemon();
    let guest = daemon.create(
        100,
        BUSYBOX,
        &[SUBVOL, UNPRIVILEGED, ("memory", "64"), ("entrypoint", PATIENT)],
    );
    let digest = guest.config()["digest"].as_str().unwrap().to_owned();
    assert_eq!(guest.put_config(&[("memory", "96"), ("digest", &digest)]).status, 200);
    assert_eq!(guest.config()["memory"], 96);
    let stale = guest.put_config(&[("memory", "128"), ("digest", &digest)]);
    assert_eq!(
        stale.line(),
        "500 detected modified configuration - file changed by other user? Try again."
    );
    guest.start();
    guest.wait_for_output("ready");
    assert_eq!(guest.current()["maxmem"], 96 << 20);
    guest.stop();
    guest.destroy();
}

#[test]
fn what_a_user_wrote_into_the_file_survives_an_edit() {
    let daemon = daemon();
    let guest = daemon.create(100, BUSYBOX, &[SUBVOL, UNPRIVILEGED, ("memory", "64")]);
    let path = daemon.config_path(100);
    let written = fs_err::read_to_string(&path).unwrap();
    fs_err::write(
        &path,
        format!("#a note%3A with a colon\n{written}\n[before]\nmemory: 32\nsnaptime: 1700000000\n"),
    )
    .unwrap();
    assert_eq!(guest.put_config(&[("memory", "80")]).status, 200);
    let now = fs_err::read_to_string(&path).unwrap();
    assert!(now.starts_with("#a note%3A with a colon\n"), "{now}");
    assert!(
        now.contains("memory: 80\n")
            && now.ends_with("[before]\nmemory: 32\nsnaptime: 1700000000\n"),
        "{now}"
    );
    guest.destroy();
}

#[test]
fn a_key_that_is_not_mapped_yet_is_named_when_it_starts() {
    let daemon = daemon();
    let guest = daemon.create(
        100,
        BUSYBOX,
        &[SUBVOL, UNPRIVILEGED, ("memory", "64"), ("entrypoint", PATIENT)],
    );
    assert_eq!(guest.put_config(&[("timezone", "Europe/Vienna")]).status, 200);
    let task = guest.task("start", &[]);
    assert!(task.exitstatus.starts_with("WARNINGS: "), "{}: {}", task.exitstatus, task.log);
    assert!(
        task.log.lines().any(|line| line.starts_with("WARN: ") && line.contains("timezone")),
        "{}",
        task.log
    );
    guest.stop();
    guest.destroy();
}
