use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use pve_integration::tasks::{Process, Source, process};

use super::*;

struct Fixture {
    root: Root,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    let tasks = Tasks::new(&root, "pve1".parse().unwrap());
    Fixture { root, tasks, _dir: dir }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn who() -> AuthId {
    "root@pam!t1".parse().unwrap()
}

impl Fixture {
    /// Run a task to its end; its status and its log.
    async fn run<W, F>(&self, work: W) -> (String, Vec<String>)
    where
        W: FnOnce(TaskLog, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), String>>,
    {
        let upid = self.tasks.spawn("vzstart", "100", &who(), work).unwrap();
        assert!(self.tasks.wait(&upid, PATIENCE).await);
        (self.stopped(&upid), self.lines(&upid))
    }

    fn stopped(&self, upid: &Upid) -> String {
        match self.tasks.status(upid).unwrap() {
            TaskState::Stopped(status) => status,
            TaskState::Running => panic!("still running"),
        }
    }

    fn lines(&self, upid: &Upid) -> Vec<String> {
        self.tasks.log(upid, 0, 0).lines.into_iter().map(|line| line.t).collect()
    }

    fn statuses(&self) -> Vec<String> {
        let filter = Filter { source: Source::All, ..Filter::default() };
        let entries = self.tasks.list(&filter).unwrap().entries;
        entries.into_iter().map(|e| e.status.unwrap_or_else(|| "RUNNING".into())).collect()
    }
}

#[tokio::test]
async fn success_is_ok() {
    let fixture = fixture();
    let (status, lines) = fixture
        .run(async |log, _| {
            log.line("working\n");
            Ok(())
        })
        .await;

    assert_eq!((status.as_str(), lines), ("OK", vec!["working".into(), "TASK OK".into()]));
    assert_eq!(fixture.statuses(), ["OK"]);
}

#[tokio::test]
async fn warnings_are_counted() {
    let fixture = fixture();
    let (status, lines) = fixture
        .run(async |log, _| {
            log.warn("net0: no bridge");
            log.clone().warn("mp0: no quota");
            Ok(())
        })
        .await;

    assert_eq!(status, "WARNINGS: 2");
    assert_eq!(lines, ["WARN: net0: no bridge", "WARN: mp0: no quota", "TASK WARNINGS: 2"]);
}

#[tokio::test]
async fn an_error_is_one_line_and_beats_warnings() {
    let fixture = fixture();
    let (status, lines) = fixture
        .run(async |log, _| {
            log.warn("w");
            Err("CT is locked\n(backup)\n".to_owned())
        })
        .await;

    assert_eq!(status, "CT is locked (backup)");
    assert_eq!(lines, ["WARN: w", "TASK ERROR: CT is locked (backup)"]);
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let fixture = fixture();
    let (status, _) = fixture.run(async |_, _| panic!("bug {}", 7)).await;

    assert_eq!(status, "internal error: bug 7");
    assert_eq!(fixture.run(async |_, _| Ok(())).await.0, "OK"); // and the daemon goes on
}

#[tokio::test]
async fn a_upid_names_the_thread_that_works() {
    let fixture = fixture();
    let (tell, told) = mpsc::channel();
    let work = async move |_, cancel: CancellationToken| {
        tell.send(Process::this_thread().unwrap()).unwrap();
        cancel.cancelled().await;
        Err("aborted".to_owned())
    };
    let upid = fixture.tasks.spawn("vzstart", "100", &who(), work).unwrap();
    let worker = told.recv_timeout(PATIENCE).unwrap();

    assert_eq!((upid.pid(), upid.pstart()), (worker.pid, worker.start));
    assert_eq!((upid.kind(), upid.id(), upid.user()), ("vzstart", "100", "root@pam!t1"));
    assert_eq!(fixture.tasks.status(&upid).unwrap(), TaskState::Running);
    assert_eq!(fixture.statuses(), ["RUNNING"]);

    fixture.tasks.abort(&upid).await.unwrap();
    assert_eq!(fixture.stopped(&upid), "aborted");
    fixture.tasks.abort(&upid).await.unwrap(); // nothing to do
}

#[tokio::test]
async fn many_at_once_have_different_upids_and_all_end_in_the_index() {
    let fixture = fixture();
    let upids: std::collections::HashSet<_> = (0..30)
        .map(|_| fixture.tasks.spawn("vzstop", "101", &who(), async |_, _| Ok::<_, String>(())))
        .map(Result::unwrap)
        .collect();
    for upid in &upids {
        assert!(fixture.tasks.wait(upid, PATIENCE).await);
    }
    assert_eq!((upids.len(), fixture.statuses()), (30, vec!["OK".to_owned(); 30]));
}

#[tokio::test]
async fn a_task_that_ignores_an_abort_is_dropped_in_the_end() {
    let mut fixture = fixture();
    let (node, clean_up) = ("pve1".parse().unwrap(), Duration::from_millis(50));
    fixture.tasks = Tasks::with_clean_up(&fixture.root, node, clean_up);
    let work = async |_, _| std::future::pending::<Result<(), String>>().await;
    let upid = fixture.tasks.spawn("vzstart", "100", &who(), work).unwrap();

    assert!(!fixture.tasks.wait(&upid, clean_up * 2).await);
    fixture.tasks.abort(&upid).await.unwrap();
    assert_eq!(fixture.stopped(&upid), "received interrupt");
}

#[tokio::test]
async fn what_a_dead_daemon_left_is_ended_by_the_next() {
    let fixture = fixture();
    let dead: Upid = "UPID:pve1:FFFFFFF0:00000001:6B043E48:vzcreate:100:root@pam:".parse().unwrap();
    let dir = TaskDir::new(&fixture.root);
    dir.create_log(&dead).unwrap().line("half-way").unwrap();
    dir.begin(&dead).unwrap();

    let next = Tasks::new(&fixture.root, "pve1".parse().unwrap());

    assert!(dir.active().unwrap()[0].saved);
    let list = next.list(&Filter::default()).unwrap();
    assert_eq!(list.entries[0].status.as_deref(), Some("unexpected status"));
    assert_eq!(fixture.stopped(&dead), "unexpected status");
}

#[tokio::test]
async fn shutdown_waits_then_cancels_and_takes_no_more() {
    let fixture = fixture();
    let quick = async |_, _| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, String>(())
    };
    let stubborn = async |_, cancel: CancellationToken| {
        cancel.cancelled().await;
        Err("stopped by shutdown".to_owned())
    };
    let quick = fixture.tasks.spawn("vzstart", "100", &who(), quick).unwrap();
    let stubborn = fixture.tasks.spawn("vzstart", "101", &who(), stubborn).unwrap();

    fixture.tasks.shutdown(Duration::from_millis(500)).await;

    assert_eq!(fixture.stopped(&quick), "OK");
    assert_eq!(fixture.stopped(&stubborn), "stopped by shutdown");
    let refused = fixture.tasks.spawn("vzstart", "100", &who(), async |_, _| Ok::<_, String>(()));
    assert!(matches!(refused, Err(TaskError::ShuttingDown)));
}

#[tokio::test]
async fn what_cannot_be_logged_does_not_begin() {
    let fixture = fixture();
    let dir = fixture.root.tasks_dir();
    fs_err::remove_dir_all(&dir).unwrap();
    fs_err::write(&dir, "in the way").unwrap();

    let refused = fixture.tasks.spawn("vzstart", "100", &who(), async |_, _| Ok::<_, String>(()));
    assert!(refused.unwrap_err().to_string().starts_with("starting worker failed: "));
    assert!(fixture.tasks.0.running().tasks.is_empty());

    let odd = fixture.tasks.spawn("vz start", "100", &who(), async |_, _| Ok::<_, String>(()));
    assert!(matches!(odd, Err(TaskError::Upid(_))));
}

#[tokio::test]
async fn an_unknown_task_is_none() {
    let fixture = fixture();
    let upid = "UPID:pve1:00000001:00000001:6B043E48:vzcreate:100:root@pam:".parse().unwrap();
    assert!(matches!(fixture.tasks.status(&upid), Err(TaskError::NoSuchTask)));
    assert!(matches!(fixture.tasks.abort(&upid).await, Err(TaskError::NoSuchTask)));
}

/// A UPID with a log, for a worker that is not ours to name.
fn foreign(fixture: &Fixture, pid: u32, start: u64) -> Upid {
    let text = format!("UPID:pve1:{pid:08X}:{start:08X}:6B043E48:vzdump:100:root@pam:");
    let upid = text.parse().unwrap();
    TaskDir::new(&fixture.root).create_log(&upid).unwrap();
    upid
}

#[tokio::test]
async fn aborts_a_worker_of_another_program_only_if_it_is_the_same() {
    let fixture = fixture();
    let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let start = process(child.id()).unwrap().start;

    fixture.tasks.abort(&foreign(&fixture, child.id(), start + 1)).await.unwrap();
    assert!(child.try_wait().unwrap().is_none());

    let upid = foreign(&fixture, child.id(), start);
    assert_eq!(fixture.tasks.status(&upid).unwrap(), TaskState::Running);
    let begun = Instant::now();
    fixture.tasks.abort(&upid).await.unwrap(); // a zombie counts as gone
    assert!(begun.elapsed() < ASK);
    assert_eq!(fixture.stopped(&upid), "unexpected status");
    assert!(!child.wait().unwrap().success());
}

#[tokio::test]
async fn never_signals_our_own_process() {
    let fixture = fixture();
    let this = Process::this_thread().unwrap();
    let upid = foreign(&fixture, this.pid, this.start);
    fixture.tasks.abort(&upid).await.unwrap(); // and the test lives to see it
    assert_eq!(fixture.stopped(&upid), "unexpected status");
}
