//! vzdump of containers that are stopped and whose volumes are folders: nothing is mounted.

use std::path::PathBuf;
use std::process::Command;

use rstest::rstest;
use serde_json::json;
use tests::Daemon;

use crate::attackers::as_root;
use crate::{ANN, with_users};

const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,rootdir,images,backup\n\n\
    dir: other\n\tpath /srv/other\n\tcontent rootdir\n";
const CONFIG: &str = "#a box\narch: amd64\nhostname: box\nmemory: 256\n\
    mp0: local:100/subvol-100-disk-1.subvol,mp=/data,backup=1,size=0T\n\
    mp1: local:100/subvol-100-disk-2.subvol,mp=/scratch,size=0T\n\
    ostype: unmanaged\nparent: s1\nrootfs: local:100/subvol-100-disk-0.subvol,size=0T\nswap: 0\n\n\
    [s1]\nhostname: old\nmemory: 64\nrootfs: local:100/subvol-100-disk-0.subvol,size=0T\nsnaptime: 1\n";

fn world() -> Daemon {
    let volume = |number: u32, file: &str| {
        format!("var/lib/vz/images/100/subvol-100-disk-{number}.subvol/{file}")
    };
    with_users()
        .file("etc/pve/storage.cfg", STORAGES)
        .file("etc/pve/nodes/pve1/lxc/100.conf", CONFIG)
        .file("etc/pve/firewall/100.fw", "[OPTIONS]\nenable: 1\n")
        .file(&volume(0, "etc/motd"), "hello\n")
        .file(&volume(0, "tmp/scratch"), "gone")
        .file(&volume(1, "motd"), "data")
        .file(&volume(2, "motd"), "scratch")
        .file("srv/other/.keep", "")
        .start()
}

fn dump(daemon: &Daemon) -> Vec<String> {
    let entries = fs_err::read_dir(daemon.root().join("var/lib/vz/dump"));
    let Ok(entries) = entries else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn path(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.root().join("var/lib/vz/dump").join(name)
}

fn tar(daemon: &Daemon, name: &str, args: &[&str]) -> String {
    let output = Command::new("tar").args(args).arg("-f").arg(path(daemon, name)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const VZDUMP: &str = "/nodes/pve1/vzdump";

#[test]
fn a_backup_is_laid_out_as_pves() {
    let daemon = world();
    let reply = daemon.post(VZDUMP, &[("vmid", "100"), ("storage", "local")]);
    let task = daemon.task(&reply);
    assert!(task.upid.contains(":vzdump:100:root@pam!test:"), "{}", task.upid);
    let log = task.ok();

    let names = dump(&daemon);
    let [archive, file_log] = names.as_slice() else { panic!("{names:?}") };
    assert!(archive.starts_with("vzdump-lxc-100-2") || archive.ends_with(".log"), "{names:?}");
    let (archive, file_log) =
        if archive.ends_with(".tar") { (archive, file_log) } else { (file_log, archive) };
    let listed = tar(&daemon, archive, &["-t"]);
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [
            "./etc/vzdump/pct.conf",
            "./etc/vzdump/pct.fw",
            "./",
            "./etc/",
            "./etc/motd",
            "./tmp/",
            "./data/",
            "./data/motd",
        ]
    );
    let config = tar(&daemon, archive, &["-xO", "./etc/vzdump/pct.conf"]);
    assert_eq!(config, CONFIG.split_once("\n\n").unwrap().0.replace("parent: s1\n", "") + "\n");
    assert_eq!(tar(&daemon, archive, &["-xO", "./etc/vzdump/pct.fw"]), "[OPTIONS]\nenable: 1\n");

    for line in [
        "INFO: starting new backup job: vzdump 100 --node pve1 --storage local",
        "INFO: Starting Backup of VM 100 (lxc)",
        "INFO: status = stopped",
        "INFO: backup mode: stop",
        "INFO: ionice priority: 7",
        "INFO: CT Name: box",
        "INFO: including mount point rootfs ('/') in backup",
        "INFO: including mount point mp0 ('/data') in backup",
        "INFO: excluding volume mount point mp1 ('/scratch') from backup (disabled)",
        "INFO: Finished Backup of VM 100 (00:00:0",
        "INFO: Backup job finished successfully",
    ] {
        assert!(log.contains(line), "no line {line:?} in\n{log}");
    }
    assert!(log.contains("INFO: Total bytes written: "), "{log}");
    let kept = fs_err::read_to_string(path(&daemon, file_log)).unwrap();
    assert!(kept.contains(" INFO: Starting Backup of VM 100 (lxc)\n"), "{kept}");
    assert!(!kept.contains("Backup started at"), "{kept}");
    let now = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    assert_eq!(now, CONFIG, "the config came back changed");
}

#[test]
fn packed_noted_protected_and_listed() {
    let daemon = world();
    let parameters = [
        ("vmid", "100"),
        ("storage", "local"),
        ("compress", "zstd"),
        ("notes-template", "{{guestname}} on {{node}}\\nsecond"),
        ("protected", "1"),
        ("exclude-path", "motd"),
        ("bwlimit", "100000"),
        ("mailto", "a@example.com"),
    ];
    let task = daemon.task(&daemon.post(VZDUMP, &parameters));
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    let log = task.log;
    assert!(log.contains("WARN: mailto: no mail is sent"), "{log}");
    assert!(log.contains("INFO: bandwidth limit: 100000 KiB/s"), "{log}");

    let rows = daemon.get("/nodes/pve1/storage/local/content?content=backup").data();
    let row = &rows[0];
    assert_eq!(
        (&row["vmid"], &row["subtype"], &row["format"], &row["notes"], &row["protected"]),
        (&json!(100), &json!("lxc"), &json!("tar.zst"), &json!("box on pve1"), &json!(1))
    );
    let volid = row["volid"].as_str().unwrap();
    let name = volid.rsplit('/').next().unwrap();
    let listed = tar(&daemon, name, &["--zstd", "-t"]);
    assert!(!listed.contains("motd") && listed.contains("./data/"), "{listed}");
    let notes = fs_err::read_to_string(path(&daemon, &format!("{name}.notes"))).unwrap();
    assert_eq!(notes, "box on pve1\nsecond");
}

#[test]
fn older_ones_go_but_not_what_is_protected() {
    let daemon = world();
    let old = "vzdump-lxc-100-2020_01_01-00_00_00.tar";
    let kept = "vzdump-lxc-100-2019_01_01-00_00_00.tar";
    let other = "vzdump-lxc-101-2019_01_01-00_00_00.tar";
    fs_err::create_dir_all(path(&daemon, "")).unwrap();
    for name in [old, kept, other] {
        fs_err::write(path(&daemon, name), "x").unwrap();
    }
    fs_err::write(path(&daemon, &format!("{kept}.protected")), "").unwrap();

    let full =
        daemon.post(VZDUMP, &[("vmid", "100"), ("prune-backups", "keep-last=1"), ("remove", "0")]);
    let task = daemon.task(&full);
    assert_eq!(task.exitstatus, "job errors");
    assert!(task.log.contains("There is a max backup limit of 1 enforced by"), "{}", task.log);

    let parameters = [("vmid", "100"), ("prune-backups", "keep-last=1"), ("compress", "gzip")];
    let log = daemon.task(&daemon.post(VZDUMP, &parameters)).ok();
    assert!(log.contains("INFO: prune older backups with retention: keep-last=1"), "{log}");
    assert!(log.contains(&format!("INFO: removing backup 'local:backup/{old}'")), "{log}");
    assert!(log.contains("INFO: pruned 1 backup(s) not covered by keep-retention policy"), "{log}");
    let names = dump(&daemon);
    assert!(!names.contains(&old.to_owned()) && names.contains(&kept.to_owned()), "{names:?}");
    assert!(names.contains(&other.to_owned()), "{names:?}");
    let made = names.iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    assert!(tar(&daemon, made, &["-tz"]).contains("./etc/motd"));
}

#[test]
fn what_fails_leaves_no_lock_and_no_archive() {
    let daemon = world();
    let volume = daemon.guest(100).subvol();
    fs_err::rename(&volume, volume.with_extension("away")).unwrap();

    let task = daemon.task(&daemon.post(VZDUMP, &[("vmid", "100,999")]));

    assert_eq!(task.exitstatus, "job errors");
    assert!(task.upid.contains(":vzdump::root@pam"), "{}", task.upid);
    assert!(task.log.contains("ERROR: Backup of VM 100 failed - cannot open '"), "{}", task.log);
    assert!(task.log.contains("ERROR: Backup of VM 999 failed - unable to find VM '999'"));
    assert!(task.log.contains("INFO: Backup job finished with errors"));
    assert_eq!(dump(&daemon).iter().filter(|name| !name.ends_with(".log")).count(), 0);
    assert!(daemon.guest(100).config().get("lock").is_none());
    let notes = daemon.root().join("var/lib/proxmox-lxcri/changing");
    assert_eq!(fs_err::read_dir(notes).unwrap().count(), 0);
}

#[test]
fn a_killed_daemon_leaves_neither_lock_nor_half_an_archive() {
    let mut daemon = world();
    let big = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/big");
    fs_err::write(big, vec![7; 8 << 20]).unwrap();
    daemon.post(VZDUMP, &[("vmid", "100"), ("bwlimit", "512")]).data();
    let dat = || dump(&daemon).into_iter().find(|name| name.ends_with(".dat"));
    tests::eventually(30, "an archive under way", dat);
    assert_eq!(daemon.guest(100).config()["lock"], "backup");
    assert_eq!(
        daemon.guest(100).put_config(&[("memory", "64")]).line(),
        "500 CT is locked (backup)"
    );

    daemon.kill();
    daemon.launch();

    assert!(daemon.guest(100).config().get("lock").is_none());
    assert_eq!(dump(&daemon), Vec::<String>::new());
    daemon.task(&daemon.post(VZDUMP, &[("vmid", "100")])).ok();
}

#[test]
fn one_run_waits_for_another_and_can_be_ended() {
    let daemon = world();
    let big = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/big");
    fs_err::write(big, vec![7; 8 << 20]).unwrap();
    let slow = daemon.post(VZDUMP, &[("vmid", "100"), ("bwlimit", "256")]);
    tests::eventually(30, "an archive under way", || {
        dump(&daemon).into_iter().find(|name| name.ends_with(".dat"))
    });
    let second = daemon.task(&daemon.post(VZDUMP, &[("vmid", "100"), ("lockwait", "0")]));
    assert_eq!(second.failed(), "can't acquire lock '/run/vzdump.lock' (wait = 0)");

    assert_eq!(daemon.post(VZDUMP, &[("stop", "1")]).data(), "OK");

    let ended = daemon.task(&slow);
    assert!(ended.log.contains("ERROR: Backup of VM 100 failed - interrupted by signal"));
    assert_eq!(ended.failed(), "interrupted by signal");
    assert!(daemon.guest(100).config().get("lock").is_none());
    assert!(!dump(&daemon).iter().any(|name| name.ends_with(".dat")));
}

#[test]
fn a_run_can_be_aborted() {
    let daemon = world();
    let big = daemon.root().join("var/lib/vz/images/100/subvol-100-disk-0.subvol/big");
    fs_err::write(big, vec![7; 8 << 20]).unwrap();
    let slow = daemon.post(VZDUMP, &[("vmid", "100"), ("bwlimit", "256")]);
    let upid = slow.data().as_str().unwrap().to_owned();
    tests::eventually(30, "an archive under way", || {
        dump(&daemon).into_iter().find(|name| name.ends_with(".dat"))
    });

    let asked = std::time::Instant::now();
    assert_eq!(daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).data(), json!(null));

    let ended = daemon.task(&slow);
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
    assert!(ended.log.contains("ERROR: Backup of VM 100 failed - interrupted by signal"));
    assert!(
        ended.log.contains("ERROR: Backup job failed - interrupted by signal"),
        "{}",
        ended.log
    );
    assert_eq!(ended.failed(), "interrupted by signal");
    assert!(daemon.guest(100).config().get("lock").is_none());
    assert!(!dump(&daemon).iter().any(|name| !name.ends_with(".log")));
    let notes = daemon.root().join("var/lib/proxmox-lxcri/changing");
    assert_eq!(fs_err::read_dir(notes).unwrap().count(), 0);
    // And is no obstacle to the next.
    daemon.task(&daemon.post(VZDUMP, &[("vmid", "100")])).ok();
}

#[test]
fn programs_pack_with_more_threads_or_in_their_own_format() {
    let daemon = world();
    let made = |parameters: &[(&str, &str)], end: &str| {
        let all = [&[("vmid", "100")], parameters].concat();
        let task = daemon.task(&daemon.post(VZDUMP, &all));
        assert_eq!(task.exitstatus, "OK", "{}", task.log);
        dump(&daemon).into_iter().find(|name| name.ends_with(end)).expect(end)
    };
    for compress in ["lzo", "1"] {
        let name = made(&[("compress", compress)], ".tar.lzo");
        assert!(tar(&daemon, &name, &["--lzop", "-t"]).contains("./etc/motd"));
        fs_err::remove_file(path(&daemon, &name)).unwrap();
    }
    let name = made(&[("compress", "zstd"), ("zstd", "2")], ".tar.zst");
    assert!(tar(&daemon, &name, &["--zstd", "-t"]).contains("./etc/motd"));
}

/// What is not there is said, and done without.
#[test]
fn pigz_is_a_program() {
    let daemon = world();
    let parameters = [("vmid", "100"), ("compress", "gzip"), ("pigz", "2")];
    let task = daemon.task(&daemon.post(VZDUMP, &parameters));
    let installed = ["/usr/bin/pigz", "/usr/local/bin/pigz"]
        .iter()
        .any(|path| std::path::Path::new(path).is_file());
    if installed {
        assert_eq!(task.exitstatus, "OK", "{}", task.log);
    } else {
        let warning =
            "WARN: one thread compresses: 'pigz' does not exist; install the package pigz";
        assert!(task.log.contains(warning), "{}", task.log);
        assert_eq!(task.exitstatus, "WARNINGS: 1");
    }
    let name = dump(&daemon).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    assert!(tar(&daemon, &name, &["-zt"]).contains("./etc/motd"));
}

/// A script that says what it was called with, and fails in the steps that are named in a file.
const HOOK: &str = "#!/bin/sh\n\
    echo \"HOOK: $* store=$STOREID dir=$DUMPDIR type=$VMTYPE host=$HOSTNAME target=$TARGET log=$LOGFILE\"\n\
    case \"$1\" in FAILS) exit 3;; esac\n";

fn hook(daemon: &Daemon, fails: &str) {
    let script = daemon.root().join("hook");
    fs_err::write(&script, HOOK.replace("FAILS", fails)).unwrap();
    fs_err::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// The steps that the log tells of, each with the rest of its line.
fn steps(log: &str) -> Vec<(&str, &str)> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("INFO: HOOK: "));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

#[test]
fn a_script_is_called_at_each_step() {
    let daemon = world();
    hook(&daemon, "nothing");
    let parameters = [("vmid", "100"), ("script", "/hook")];
    let reply = as_root(&daemon, "POST", VZDUMP, &parameters);
    let log = daemon.task(&reply).ok();

    let steps = steps(&log);
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["job-init", "job-start", "backup-start", "backup-end", "log-end", "job-end"],
        "{log}"
    );
    let folder = daemon.root().join("var/lib/vz/dump").display().to_string();
    assert_eq!(steps[0].1, "store=local dir= type= host= target= log=");
    assert_eq!(steps[1].1, format!("store=local dir={folder} type= host= target= log="));
    let name = dump(&daemon).into_iter().find(|name| name.ends_with(".tar")).unwrap();
    let stem = name.strip_suffix(".tar").unwrap();
    let of_guest = format!(
        "stop 100 store=local dir={folder} type=lxc host=box target={folder}/{name} log={folder}/{stem}.log"
    );
    for (step, told) in &steps[2..5] {
        assert_eq!(*told, of_guest, "{step}");
    }
}

#[rstest]
#[case::before_all(
    "job-init", &["job-init"], "command 'ROOT/hook job-init' failed: exit code 3"
)]
#[case::before_the_first(
    "job-start", &["job-init", "job-start", "job-abort"],
    "command 'ROOT/hook job-start' failed: exit code 3"
)]
#[case::before_a_guest(
    "backup-start",
    &["job-init", "job-start", "backup-start", "backup-abort", "log-end", "job-end"],
    "job errors"
)]
#[case::after_a_guest(
    "backup-end",
    &["job-init", "job-start", "backup-start", "backup-end", "backup-abort", "log-end", "job-end"],
    "job errors"
)]
fn a_script_that_fails_ends_what_it_was_called_for(
    #[case] fails: &str,
    #[case] names: &[&str],
    #[case] error: &str,
) {
    let daemon = world();
    hook(&daemon, fails);
    let reply = as_root(&daemon, "POST", VZDUMP, &[("vmid", "100"), ("script", "/hook")]);

    let task = daemon.task(&reply);

    let found: Vec<_> = steps(&task.log).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, names, "{}", task.log);
    let ended = task.failed().replace(daemon.root().to_str().unwrap(), "ROOT");
    assert_eq!(ended, error);
    assert!(daemon.guest(100).config().get("lock").is_none());
}

#[test]
fn a_script_that_is_none_is_named_and_only_root_names_one() {
    let daemon = world();
    let named = [("vmid", "100"), ("script", "/hook")];
    let token = daemon.post(VZDUMP, &named);
    assert_eq!(token.errors(), json!({"script": "Only root may set this option."}));
    let ends = || {
        let task = daemon.task(&as_root(&daemon, "POST", VZDUMP, &named));
        task.failed().replace(daemon.root().to_str().unwrap(), "ROOT")
    };
    assert_eq!(ends(), "Error: The hook script 'ROOT/hook' does not exist.");
    fs_err::write(daemon.root().join("hook"), "#!/bin/sh\n").unwrap();
    assert_eq!(ends(), "Error: The hook script 'ROOT/hook' is not executable.");
    assert_eq!(dump(&daemon), [""; 0]);
}

#[test]
fn refuses_what_pve_refuses() {
    let daemon = world();
    let errors = |parameters: &[(&str, &str)]| daemon.post(VZDUMP, parameters).errors();

    assert_eq!(errors(&[]), json!({"vmid": "property is missing"}));
    for name in ["all", "exclude", "pool"] {
        let value = if name == "pool" {
            "p1"
        } else if name == "all" {
            "1"
        } else {
            "101"
        };
        assert_eq!(
            errors(&[("vmid", "100"), (name, value)]),
            json!({name: "option conflicts with option 'vmid'"})
        );
    }
    assert_eq!(
        errors(&[("vmid", "100"), ("stdout", "1")]),
        json!({"stdout": "option is only allowed on the command line interface."})
    );
    assert_eq!(
        errors(&[("vmid", "100"), ("storage", "local"), ("notes-template", "{{x}}")]),
        json!({"notes-template": "found unknown: variable 'x' at char 4\n"})
    );
    let nowhere =
        daemon.task(&daemon.post(VZDUMP, &[("vmid", "100"), ("storage", "nope")])).failed();
    assert_eq!(
        nowhere,
        "could not activate storage 'nope': storage 'nope' does not exist could not get storage \
         information for 'nope': storage 'nope' does not exist"
    );
    let wrong =
        daemon.task(&daemon.post(VZDUMP, &[("vmid", "100"), ("storage", "other")])).failed();
    assert!(
        wrong.contains("can't use storage 'other' for backups - wrong content type"),
        "{wrong}"
    );
    assert_eq!(daemon.post(VZDUMP, &[("vmid", "")]).status, 400);

    let ann = |parameters: &[(&str, &str)]| {
        daemon.request_as(&[("Authorization", ANN)], "POST", VZDUMP, parameters)
    };
    assert_eq!(
        ann(&[("vmid", "100")]).line(),
        "403 Permission check failed (/storage/local, Datastore.AllocateSpace)"
    );
    assert_eq!(
        ann(&[("vmid", "100"), ("dumpdir", "/tmp")]).errors(),
        json!({"dumpdir": "Only root may set this option."})
    );
    assert_eq!(
        ann(&[("vmid", "100"), ("bwlimit", "1")]).line(),
        "403 Permission check failed (/, Sys.Modify)"
    );
}

#[test]
fn the_config_in_a_backup_can_be_read() {
    let daemon = world();
    daemon.task(&daemon.post(VZDUMP, &[("vmid", "100"), ("compress", "zstd")])).ok();
    let rows = daemon.get("/nodes/pve1/storage/local/content?content=backup").data();
    let volid = rows[0]["volid"].as_str().unwrap();
    let path = "/nodes/pve1/vzdump/extractconfig";

    let config = daemon.request("GET", path, &[("volume", volid)]).data();
    assert!(
        config.as_str().unwrap().starts_with("#a box\narch: amd64\nhostname: box\n"),
        "{config}"
    );

    let get = |volume: &str| daemon.request("GET", path, &[("volume", volume)]).line();
    assert_eq!(
        get("local:vztmpl/x.tar.zst"),
        "500 unable to use volume local:vztmpl/x.tar.zst - content type needs to be 'backup'"
    );
    let missing = "local:backup/vzdump-lxc-1-x.tar";
    assert_eq!(get(missing), format!("500 volume '{missing}' does not exist"));
    let ann =
        daemon.request_as(&[("Authorization", ANN)], "GET", path, &[("volume", volid)]).line();
    assert_eq!(ann, "403 Permission check failed (/storage/local, Datastore.AllocateSpace)");
}
