//! Creating and editing as far as it goes without running anything, and the tasks it leaves.

use serde_json::json;

use crate::with_guest;

#[test]
fn a_create_that_fails_in_its_task_leaves_a_task_and_nothing_else() {
    let daemon = with_guest().start();
    fs_err::write(daemon.templates().join("text.tar.gz"), "hello, world, this is no archive")
        .unwrap();
    let task =
        daemon.try_create(200, "text.tar.gz", &[("rootfs", "local:0"), ("unprivileged", "1")]);
    let error = task.clone().failed();
    assert!(error.contains("unable to create CT 200 - "), "{error}");
    assert!(
        task.log.lines().last().unwrap().starts_with("TASK ERROR: unable to create CT 200 - "),
        "{}",
        task.log
    );
    assert!(!daemon.config_path(200).exists());
    assert!(!daemon.root().join("var/lib/vz/images/200").exists());
    assert_eq!(daemon.get("/cluster/nextid").data(), "101");

    let tasks = daemon.get("/nodes/pve1/tasks").json();
    assert_eq!(tasks["total"], 1);
    assert_eq!(tasks["data"][0]["upid"], json!(task.upid));
    assert_eq!(
        (&tasks["data"][0]["type"], &tasks["data"][0]["id"]),
        (&json!("vzcreate"), &json!("200"))
    );
    assert_eq!(tasks["data"][0]["user"], "root@pam");
    assert_eq!(tasks["data"][0]["status"], json!(error));
    let index = fs_err::read_to_string(daemon.root().join("var/log/pve/tasks/index")).unwrap();
    assert!(index.contains(&task.upid), "{index}");
}

#[test]
fn a_create_is_refused_before_any_task() {
    let daemon = with_guest().start();
    let taken = daemon.post_create(100, "x.tar.gz", &[]);
    assert_eq!(taken.line(), "500 CT 100 already exists on node 'pve1'");
    let template = [("vmid", "201"), ("ostemplate", "nope:vztmpl/x.tar.zst")];
    let storage = daemon.post("/nodes/pve1/lxc", &template);
    assert_eq!(storage.line(), "500 storage 'nope' does not exist");
    assert!(!daemon.config_path(201).exists());
    assert_eq!(daemon.get("/nodes/pve1/tasks").data(), json!([]));
}

#[test]
fn unknown_tasks_are_told_apart_from_nonsense() {
    let daemon = with_guest().start();
    let upid = "UPID:pve1:0000AAAA:0000BBBB:66000000:vzstart:100:root@pam:";
    let unknown = daemon.get(&format!("/nodes/pve1/tasks/{upid}/status"));
    assert_eq!(unknown.errors()["upid"], "no such task");
    let nonsense = daemon.get("/nodes/pve1/tasks/nonsense/status");
    assert_eq!(nonsense.errors()["upid"], "unable to parse worker upid");
}

#[test]
fn a_config_edit_is_atomic_and_guarded() {
    let daemon = with_guest().start();
    let path = "/nodes/pve1/lxc/100/config";
    let digest = daemon.get(path).data()["digest"].as_str().unwrap().to_owned();
    assert_eq!(daemon.put(path, &[("description", "two\nlines"), ("digest", &digest)]).status, 200);
    let stale = daemon.put(path, &[("memory", "64"), ("digest", &digest)]);
    assert_eq!(
        stale.line(),
        "500 detected modified configuration - file changed by other user? Try again."
    );
    assert_eq!(daemon.get(path).data()["memory"], 256);
    let text = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    assert!(text.starts_with("#two\n#lines\n"), "{text}");
    assert_eq!(daemon.put(path, &[("delete", "description,cores")]).status, 200);
    assert!(daemon.get(path).data()["cores"].is_null());
    let required = daemon.put(path, &[("delete", "memory")]);
    assert_eq!(required.line(), "500 unable to delete required option 'memory'");
    let read_only = daemon.put(path, &[("unprivileged", "0")]);
    assert_eq!(read_only.line(), "500 unable to modify read-only option: 'unprivileged'");
    let beside: Vec<_> =
        fs_err::read_dir(daemon.config_path(100).parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

#[test]
fn a_locked_or_protected_container_is_left_alone() {
    let daemon = with_guest().start();
    let path = daemon.config_path(100);
    let plain = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, format!("{plain}lock: backup\n")).unwrap();
    let edit = daemon.put("/nodes/pve1/lxc/100/config", &[("memory", "64")]);
    assert_eq!(edit.line(), "500 CT is locked (backup)");
    let start = daemon.post("/nodes/pve1/lxc/100/status/start", &[]);
    assert_eq!(daemon.task(&start).failed(), "CT is locked (backup)");
    fs_err::write(&path, format!("{plain}protection: 1\n")).unwrap();
    let delete = daemon.delete("/nodes/pve1/lxc/100");
    assert_eq!(delete.line(), "500 can't remove CT 100 - protection mode enabled");
    assert!(path.exists());
}

#[test]
fn a_change_names_its_options_even_if_it_changes_nothing() {
    let daemon = with_guest().start();
    let put = |fields: &[(&str, &str)]| daemon.put("/nodes/pve1/lxc/100/config", fields).line();
    assert_eq!(put(&[]), "500 no options specified");
    assert_eq!(put(&[("delete", "")]), "200 OK");
    assert_eq!(put(&[("description", "two\nlines")]), "200 OK");
    assert_eq!(put(&[("description", "")]), "200 OK");
    assert_eq!(daemon.get("/nodes/pve1/lxc/100/config").data()["description"], json!(null));
}

#[test]
fn a_disk_that_is_not_there_does_not_grow() {
    let daemon = with_guest().start();
    let resize = [("disk", "mp3"), ("size", "+1G")];
    let reply = daemon.put("/nodes/pve1/lxc/100/resize", &resize);
    assert_eq!(reply.line(), "500 format error");
    assert_eq!(reply.json()["errors"]["mp"], "property is missing and it is not optional");
}

#[test]
fn what_does_not_run_resumes_in_a_task_that_fails() {
    let daemon = with_guest().start();
    let upid = daemon.post("/nodes/pve1/lxc/100/status/resume", &[]).data();
    assert_eq!(daemon.task_of(upid.as_str().unwrap()).failed(), "CT 100 not running");
}
