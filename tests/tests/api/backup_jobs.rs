//! Backup jobs in `jobs.cfg`, and what is told of backups that are there.

use serde_json::json;
use tests::{Daemon, NODE, eventually};

use crate::{ANN, with_guest};

const JOBS: &str = "/cluster/backup";

fn file(daemon: &Daemon) -> String {
    fs_err::read_to_string(daemon.root().join("etc/pve/jobs.cfg")).unwrap_or_default()
}

#[test]
fn a_job_is_made_shown_changed_and_removed() {
    let daemon = with_guest().start();
    assert_eq!(daemon.get(JOBS).data(), json!([]));
    let parameters = [
        ("id", "nightly"),
        ("schedule", "sat 02:30"),
        ("all", "1"),
        ("comment", "all: of it"),
        ("compress", "zstd"),
        ("prune-backups", "keep-weekly=2,keep-last=3"),
        ("storage", "local"),
    ];
    assert!(daemon.post(JOBS, &parameters).data().is_null());
    assert_eq!(
        file(&daemon),
        "vzdump: nightly\n\tcomment all%3A of it\n\tschedule sat 02:30\n\tall 1\n\tcompress zstd\n\
         \tenabled 1\n\tprune-backups keep-last=3,keep-weekly=2\n\tstorage local\n\n"
    );
    let job = daemon.get("/cluster/backup/nightly").data();
    assert_eq!(
        job,
        json!({
            "id": "nightly", "type": "vzdump", "schedule": "sat 02:30", "all": 1, "enabled": 1,
            "comment": "all: of it", "compress": "zstd", "storage": "local",
            "prune-backups": {"keep-last": "3", "keep-weekly": "2"},
        })
    );
    let listed = daemon.get(JOBS).data();
    assert!(listed[0]["next-run"].as_u64().unwrap() > 1_700_000_000, "{listed}");
    assert_eq!(daemon.get("/cluster/backup-info/not-backed-up").data(), json!([]));
    assert_eq!(daemon.post(JOBS, &parameters).line(), "500 Job 'nightly' already exists");

    let path = "/cluster/backup/nightly";
    daemon.put(path, &[("vmid", "200"), ("enabled", "0"), ("delete", "comment")]).data();
    let job = daemon.get(path).data();
    assert_eq!((&job["vmid"], &job["enabled"]), (&json!("200"), &json!(0)));
    assert!(job.get("all").is_none() && job.get("comment").is_none(), "{job}");
    assert_eq!(
        daemon.get("/cluster/backup-info/not-backed-up").data(),
        json!([{"vmid": 100, "type": "lxc", "name": "box"}])
    );
    assert_eq!(daemon.put(path, &[]).line(), "500 no options specified");
    assert_eq!(daemon.put("/cluster/backup/x", &[("all", "1")]).line(), "500 no such vzdump job");
    let unknown = daemon.put(path, &[("delete", "schedules")]);
    assert_eq!(unknown.line(), "500 400 Parameter verification failed.");
    assert_eq!(
        unknown.json()["message"],
        "400 Parameter verification failed.\ndelete: unknown option 'schedules'\n"
    );

    daemon.delete(path).data();
    assert_eq!(file(&daemon), "");
    assert_eq!(daemon.get(path).errors(), json!({"id": "No such job 'nightly'"}));
    assert_eq!(daemon.delete(path).line(), "500 400 Parameter verification failed.");
}

#[test]
fn what_a_job_covers_is_a_tree() {
    let other = "realm-sync: r\n\trealm x\n\n";
    let jobs = format!("{other}vzdump: daily\n\tschedule 21:00\n\tvmid 100,999\n");
    let daemon = with_guest().file("etc/pve/jobs.cfg", &jobs).start();

    let tree = daemon.get("/cluster/backup/daily/included_volumes").data();

    assert_eq!(
        tree,
        json!({"children": [
            {"id": 100, "type": "lxc", "name": "box", "leaf": 0, "children": [{
                "id": "100:rootfs", "name": "local:100/vm-100-disk-0.raw", "included": 1,
                "reason": "rootfs", "leaf": 1,
            }]},
            {"id": 999, "type": "unknown", "leaf": 1},
        ]})
    );
    daemon.post(JOBS, &[("starttime", "1:30"), ("dow", "mon,tue"), ("vmid", "100")]).data();
    assert!(file(&daemon).starts_with(other), "{}", file(&daemon));
    assert!(file(&daemon).contains("\tschedule mon,tue 1:30\n"), "{}", file(&daemon));
}

#[test]
fn refuses_what_pve_refuses() {
    let daemon = with_guest().start();
    let errors = |parameters: &[(&str, &str)]| daemon.post(JOBS, parameters).errors();
    assert_eq!(
        errors(&[("all", "1")]),
        json!({"schedule": "neither 'starttime' nor 'schedule' were set"})
    );
    assert_eq!(
        errors(&[("all", "1"), ("schedule", "daily"), ("starttime", "1:00")]),
        json!({"starttime": "'starttime' and 'schedule' cannot both be set"})
    );
    let nobody = daemon.post(JOBS, &[("schedule", "daily")]);
    assert_eq!(nobody.line(), "500 400 Parameter verification failed.");
    assert_eq!(
        nobody.json()["message"],
        "400 Parameter verification failed.\nvmid: property is missing\n"
    );
    let ann = daemon.request_as(&[("Authorization", ANN)], "POST", JOBS, &[("schedule", "daily")]);
    assert_eq!(ann.line(), "403 Permission check failed (/, Sys.Modify)");
    assert_eq!(file(&daemon), "");
}

#[test]
fn defaults_are_pves_and_the_storages() {
    let daemon = with_guest().file("etc/vzdump.conf", "bwlimit: 100\nmailto: a@b.c\n").start();
    let path = format!("/nodes/{NODE}/vzdump/defaults");
    let defaults = daemon.get(&path).data();
    assert_eq!(
        (&defaults["storage"], &defaults["dumpdir"], &defaults["mode"], &defaults["bwlimit"]),
        (&json!("local"), &json!("/var/lib/vz/dump"), &json!("snapshot"), &json!(100))
    );
    assert_eq!(defaults["prune-backups"], "keep-all=1");
    assert_eq!(defaults["performance"], json!({"max-workers": 16, "pbs-entries-max": 1_048_576}));
    assert_eq!((&defaults["mailto"], &defaults["ionice"]), (&json!("a@b.c"), &json!(7)));
    let ann = daemon.request_as(&[("Authorization", ANN)], "GET", &path, &[]);
    assert_eq!(
        ann.line(),
        "403 Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)"
    );
    let missing = daemon.request("GET", &path, &[("storage", "nope")]);
    assert_eq!(missing.line(), "500 storage 'nope' does not exist");
}

#[test]
fn old_backups_are_marked_and_removed() {
    let name = |day: u32| format!("vzdump-lxc-100-2026_01_0{day}-00_00_00.tar");
    let daemon = with_guest()
        .file(&format!("var/lib/vz/dump/{}", name(1)), "x")
        .file(&format!("var/lib/vz/dump/{}", name(2)), "x")
        .file("var/lib/vz/dump/vzdump-qemu-101-mine.vma", "x")
        .start();
    let path = format!("/nodes/{NODE}/storage/local/prunebackups");

    let rows = daemon.request("GET", &path, &[("prune-backups", "keep-last=1")]).data();
    assert_eq!(rows[0]["mark"], "remove");
    assert_eq!(rows[0]["volid"], format!("local:backup/{}", name(1)));
    assert_eq!((&rows[0]["type"], &rows[0]["vmid"]), (&json!("lxc"), &json!(100)));
    assert!(rows[0]["ctime"].is_u64());
    assert_eq!(rows[1]["mark"], "keep");
    assert_eq!((&rows[2]["mark"], &rows[2]["type"]), (&json!("renamed"), &json!("qemu")));

    let parameters = [("prune-backups", "keep-last=1"), ("vmid", "100")];
    let task = daemon.task(&daemon.request("DELETE", &path, &parameters));
    assert!(task.upid.contains(":prunebackups:100@local:"), "{}", task.upid);
    assert_eq!(task.ok(), format!("removing backup 'local:backup/{}'\nTASK OK", name(1)));
    let left = daemon.get(&format!("/nodes/{NODE}/storage/local/content?content=backup")).data();
    assert_eq!(left.as_array().unwrap().len(), 2);
    let ann = daemon.request_as(&[("Authorization", ANN)], "DELETE", &path, &parameters);
    assert_eq!(ann.line(), "403 Permission check failed (/storage/local, Datastore.AllocateSpace)");
}

fn state(daemon: &Daemon, id: &str) -> serde_json::Value {
    let path = daemon.root().join(format!("var/lib/pve-manager/jobs/vzdump-{id}.json"));
    fs_err::read(path).map_or(json!(null), |bytes| serde_json::from_slice(&bytes).unwrap())
}

/// A scheduler looks as soon as there is one, so nobody waits for a full minute here.
#[test]
fn a_run_that_was_missed_is_made_up_for_where_that_is_wanted() {
    let old = r#"{"state":"created","time":1700000000,"config":{"enabled":1,"schedule":"02:30"}}"#;
    let daemon = with_guest()
        .file(
            "etc/pve/jobs.cfg",
            "vzdump: again\n\tschedule 02:30\n\trepeat-missed 1\n\tvmid 100\n\n\
             vzdump: never\n\tschedule 02:30\n\tvmid 100\n\n",
        )
        .file("var/lib/pve-manager/jobs/vzdump-again.json", old)
        .file("var/lib/pve-manager/jobs/vzdump-never.json", old)
        .start();

    let upid = eventually(20, "the job runs", || {
        state(&daemon, "again")["upid"].as_str().map(str::to_owned)
    });

    assert!(upid.contains(":vzdump:100:root@pam:"), "{upid}");
    let never = state(&daemon, "never");
    assert_eq!((&never["state"], never.get("upid")), (&json!("created"), None));
    assert!(never["updated"].as_i64().unwrap() > 1_700_000_000, "{never}");
}

#[test]
fn a_job_s_state_comes_and_goes_with_it() {
    let daemon = with_guest().start();
    daemon.post(JOBS, &[("id", "j1"), ("schedule", "02:30"), ("all", "1")]).data();
    let made = state(&daemon, "j1");
    assert_eq!(made["config"], json!({"enabled": 1, "schedule": "02:30"}));
    assert!(made["time"].as_i64().unwrap() > 1_700_000_000 && made.get("updated").is_none());
    daemon.put("/cluster/backup/j1", &[("schedule", "03:30")]).data();
    let changed = state(&daemon, "j1");
    assert_eq!(changed["config"]["schedule"], "03:30");
    assert!(changed["updated"].is_i64(), "{changed}");
    daemon.delete("/cluster/backup/j1").data();
    assert_eq!(state(&daemon, "j1"), json!(null));
}
