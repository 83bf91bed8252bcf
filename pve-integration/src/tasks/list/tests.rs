use rstest::rstest;

use super::*;
use crate::layout::Root;

pub(in crate::tasks) fn tasks() -> (tempfile::TempDir, TaskDir) {
    let dir = tempfile::tempdir().unwrap();
    let tasks = TaskDir::new(&Root::new(dir.path()).unwrap());
    (dir, tasks)
}

/// A task of a worker that cannot be: no process has such a number.
pub(in crate::tasks) fn upid(starttime: u32, kind: &str, id: &str, user: &str) -> Upid {
    format!("UPID:pve1:FFFFFFF0:00000001:{starttime:08X}:{kind}:{id}:{user}:").parse().unwrap()
}

/// Five ended tasks, in the order they ended, the first two in the index that was put aside.
fn index() -> (tempfile::TempDir, TaskDir) {
    let (dir, tasks) = tasks();
    let line = |start, kind, id, user, status: &str| {
        format!("{} {:08X} {status}\n", upid(start, kind, id, user), start + 1)
    };
    fs::create_dir_all(&tasks.dir).unwrap();
    let older = line(1, "vzstart", "100", "root@pam", "OK")
        + "UPID:torn\n\n"
        + &line(2, "vzstop", "100", "alice@pve", "no such container");
    let newer = line(3, "vzstart", "1000", "alice@pve!tok", "WARNINGS: 2")
        + &line(4, "imgcopy", "", "root@pam!t1", "unexpected status")
        + &line(5, "vzstart", "101", "root@pam", "OK")
        + "UPID:pve1:FFFFFFF0:000"; // as a crash left it
    fs::write(tasks.dir.join("index.1"), older).unwrap();
    fs::write(tasks.dir.join("index"), newer).unwrap();
    (dir, tasks)
}

#[rstest]
#[case::all(Filter::default(), &[5, 4, 3, 2, 1], 5)]
#[case::page(Filter { start: 1, limit: 2, ..Filter::default() }, &[4, 3], 5)]
#[case::none(Filter { limit: 0, ..Filter::default() }, &[], 5)]
#[case::user(Filter { user: Some("ALICE".into()), ..Filter::default() }, &[3, 2], 2)]
#[case::kind(Filter { kind: Some("vzstart".into()), ..Filter::default() }, &[5, 3, 1], 3)]
#[case::vmid(Filter { vmid: Some("100".parse().unwrap()), ..Filter::default() }, &[2, 1], 2)]
#[case::errors(Filter { errors: true, ..Filter::default() }, &[4, 3, 2], 3)]
#[case::statuses(
    Filter { statuses: Some([StatusKind::Ok, StatusKind::Warning].into()), ..Filter::default() },
    &[5, 3, 1],
    3
)]
#[case::errors_win(
    Filter { errors: true, statuses: Some([StatusKind::Ok].into()), ..Filter::default() },
    &[4, 3, 2],
    3
)]
#[case::times(Filter { since: Some(2), until: Some(4), ..Filter::default() }, &[4, 3, 2], 3)]
#[case::of_a_user(Filter { owner: Some("alice@pve".parse().unwrap()), ..Filter::default() }, &[3, 2], 2)]
#[case::of_a_token(Filter { owner: Some("root@pam!t1".parse().unwrap()), ..Filter::default() }, &[4], 1)]
#[case::active(Filter { source: Source::Active, ..Filter::default() }, &[], 0)]
fn lists(#[case] filter: Filter, #[case] starts: &[u32], #[case] total: u64) {
    let (_dir, tasks) = index();
    let list = tasks.list(&filter).unwrap();
    let found: Vec<_> = list.entries.iter().map(|entry| entry.upid.starttime()).collect();
    assert_eq!((found.as_slice(), list.total), (starts, total));
}

#[test]
fn shows_ends_and_statuses() {
    let (_dir, tasks) = index();
    let entry =
        &tasks.list(&Filter { start: 2, limit: 1, ..Filter::default() }).unwrap().entries[0];
    assert_eq!((entry.endtime, entry.status.as_deref()), (Some(4), Some("WARNINGS: 2")));
}

#[test]
fn an_empty_directory_has_no_tasks() {
    let (_dir, tasks) = tasks();
    let list = tasks.list(&Filter { source: Source::All, ..Filter::default() }).unwrap();
    assert_eq!(list, List { entries: Vec::new(), total: 0 });
}

#[rstest]
#[case("root@pam!t1", "root@pam!t1", true)]
#[case("root@pam!t1", "root@pam", true)]
#[case("root@pam!t1", "root@pam!t2", false)]
#[case("root@pam", "root@pam!t1", false)]
#[case("root@pam", "root@pam", true)]
#[case("strange", "root@pam", false)]
fn owns(#[case] task: &str, #[case] who: &str, #[case] own: bool) {
    assert_eq!(owned_by(&upid(1, "vzstart", "100", task), &who.parse().unwrap()), own);
}
