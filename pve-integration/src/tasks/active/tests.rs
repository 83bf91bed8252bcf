use std::sync::Arc;

use proptest::prelude::*;

use super::super::list::tests::{tasks, upid};
use super::super::list::{Filter, Source};
use super::super::process::Process;
use super::*;

/// A task of the thread that runs the test.
fn own(starttime: u32) -> Upid {
    let this = Process::this_thread().unwrap();
    let text = format!(
        "UPID:pve1:{:08X}:{:08X}:{starttime:08X}:vzstart:100:root@pam:",
        this.pid, this.start
    );
    text.parse().unwrap()
}

fn file(tasks: &TaskDir, name: &str) -> String {
    fs::read_to_string(tasks.dir.join(name)).unwrap_or_default()
}

#[test]
fn a_task_goes_from_the_list_to_the_index() {
    let (_dir, tasks) = tasks();
    let upid = own(9);
    tasks.create_log(&upid).unwrap();
    tasks.begin(&upid).unwrap();
    assert_eq!(file(&tasks, "active"), format!("{upid} 0\n"));
    tasks.refresh().unwrap();
    let filter = Filter { source: Source::All, ..Filter::default() };
    assert_eq!(tasks.list(&filter).unwrap().entries, [Entry::new(upid.clone())]);

    tasks.end(&upid, &Outcome::Warnings(2)).unwrap();

    let index = file(&tasks, "index");
    let end = index.strip_prefix(&format!("{upid} ")).unwrap();
    assert!(end.ends_with(" WARNINGS: 2\n") && end.len() == 8 + 13, "{end}");
    assert_eq!(file(&tasks, "active"), format!("{upid} 1 {end}"));
    let list = tasks.list(&filter).unwrap();
    assert_eq!((list.total, list.entries[0].status.as_deref()), (1, Some("WARNINGS: 2")));
    tasks.refresh().unwrap();
    assert_eq!(file(&tasks, "index"), index); // once
}

#[test]
fn a_dead_worker_is_noticed_when_the_list_is_read() {
    let (_dir, tasks) = tasks();
    let (cut, said) = (upid(1, "vzstart", "100", "root@pam"), upid(2, "vzstop", "101", "root@pam"));
    for upid in [&cut, &said] {
        tasks.create_log(upid).unwrap().line("working").unwrap();
        tasks.begin(upid).unwrap();
    }
    fs::remove_file(tasks.log_path(&said)).unwrap();
    tasks.create_log(&said).unwrap().finish(&Outcome::Error("boom".into())).unwrap();

    let list = tasks.list(&Filter::default()).unwrap();
    let statuses: Vec<_> = list.entries.iter().map(|e| e.status.as_deref().unwrap()).collect();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.contains(&"unexpected status") && statuses.contains(&"boom"));
}

#[test]
fn the_list_keeps_what_runs_and_a_few_others() {
    let (_dir, tasks) = tasks();
    let running = own(1000);
    tasks.begin(&running).unwrap();
    for start in 0..40 {
        tasks.end(&upid(start, "vzstart", "100", "root@pam"), &Outcome::Ok).unwrap();
    }
    let list = tasks.refresh().unwrap();
    let starts: Vec<_> = list.iter().map(|entry| entry.upid.starttime()).collect();
    assert_eq!(starts, [vec![1000], (16..40).rev().collect()].concat());
    assert_eq!(file(&tasks, "index").lines().count(), 40);
}

#[test]
fn a_long_index_is_put_aside() {
    let (_dir, tasks) = tasks();
    let ended = upid(7, "vzstart", "100", "root@pam");
    fs::create_dir_all(&tasks.dir).unwrap();
    fs::write(tasks.dir.join("index"), "x\n".repeat(25_001)).unwrap();
    tasks.end(&ended, &Outcome::Ok).unwrap();

    assert!(file(&tasks, "index.1").lines().last().unwrap().starts_with(&ended.to_string()));
    assert!(!tasks.dir.join("index").exists());
    assert_eq!(tasks.list(&Filter::default()).unwrap().total, 1);
}

#[test]
fn a_torn_index_line_takes_no_other_with_it() {
    let (_dir, tasks) = tasks();
    let ended = upid(7, "vzstart", "100", "root@pam");
    fs::create_dir_all(&tasks.dir).unwrap();
    fs::write(tasks.dir.join("index"), "UPID:pve1:000").unwrap();
    tasks.end(&ended, &Outcome::Ok).unwrap();

    assert_eq!(tasks.list(&Filter::default()).unwrap().entries[0].upid, ended);
}

#[test]
fn what_cannot_be_indexed_is_kept_and_tried_again() {
    let (_dir, tasks) = tasks();
    fs::create_dir_all(tasks.dir.join("index")).unwrap(); // no file can be opened there
    let ended = upid(7, "vzstart", "100", "root@pam");
    assert!(tasks.end(&ended, &Outcome::Ok).is_err());
    assert!(file(&tasks, "active").starts_with(&format!("{ended} 0 ")));

    fs::remove_dir(tasks.dir.join("index")).unwrap();
    tasks.refresh().unwrap();
    assert!(file(&tasks, "index").starts_with(&ended.to_string()));
    assert!(file(&tasks, "active").starts_with(&format!("{ended} 1 ")));
}

#[test]
fn many_threads_lose_nothing() {
    let (_dir, tasks) = tasks();
    let tasks = Arc::new(tasks);
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let tasks = Arc::clone(&tasks);
            thread::spawn(move || {
                for at in 0..10 {
                    let upid = own(worker * 100 + at);
                    tasks.begin(&upid).unwrap();
                    tasks.end(&upid, &Outcome::Ok).unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(tasks.list(&Filter::default()).unwrap().total, 80);
}

proptest! {
    #[test]
    fn lines_read_back(saved: bool, endtime in proptest::option::of(0..=u64::from(u32::MAX)), status in "[!-~][ -~]{0,20}") {
        let status = endtime.map(|_| status);
        let entry = Entry { upid: upid(7, "vzstart", "100", "root@pam"), saved, endtime, status };
        prop_assert_eq!(Entry::of_list(&entry.to_string()), Some(entry.clone()));
        if endtime.is_some() {
            let line = entry.index_line();
            let read = Entry::of_index(line.trim_end_matches('\n'));
            prop_assert_eq!(read, Some(Entry { saved: true, ..entry }));
        }
    }

    #[test]
    fn never_panics(line in "(UPID:p:00000001:00000001:00000001:t::u:)?[ 01A-F\\PC]{0,24}") {
        drop((Entry::of_list(&line), Entry::of_index(&line)));
    }
}
