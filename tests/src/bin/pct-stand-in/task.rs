//! A command that works as a task, as PVE's does: the parent lists the task, copies what the worker
//! prints to its own output and to the task's log, and hands SIGTERM on to the worker. If it cannot
//! print any more, it ends the worker.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::grammar::Call;
use crate::{Plan, tree};

pub(crate) const WORKER: &str = "worker";
/// Marks the worker's last line, which is an error.
const ERROR: char = '\x01';

/// How many warnings there were, or the error.
pub(crate) fn run(
    folder: &Path,
    root: &Path,
    kind: &str,
    call: &Call,
    arguments: &[String],
) -> Result<u32, String> {
    let term = SigSet::from_iter([Signal::SIGTERM]);
    term.thread_block().unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args([folder, root])
        .arg(WORKER)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(i32::try_from(worker.id()).unwrap());
    std::thread::spawn(move || {
        while term.wait().is_ok() {
            killpg(group, Signal::SIGTERM).unwrap_or_default();
        }
    });
    let mut log = list(root, kind, call.value("vmid"), &worker);
    worker.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let (mut warnings, mut error) = (0, None);
    for line in BufReader::new(worker.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(words) = line.strip_prefix(ERROR) {
            error = Some(words.replace('\x02', "\n"));
            continue;
        }
        warnings += u32::from(line.starts_with("WARN: "));
        writeln!(log, "{line}").unwrap();
        if writeln!(std::io::stdout(), "{line}").is_err() {
            killpg(group, Signal::SIGKILL).unwrap_or_default();
        }
    }
    if !worker.wait().unwrap().success() && error.is_none() {
        error = Some("received interrupt".to_owned());
    }
    let last = match (&error, warnings) {
        (Some(words), _) => format!("TASK ERROR: {}", words.replace('\n', " ")),
        (None, 0) => "TASK OK".to_owned(),
        (None, count) => format!("TASK WARNINGS: {count}"),
    };
    writeln!(log, "{last}").unwrap();
    error.map_or(Ok(warnings), Err)
}

/// Into PVE's list of active tasks; the log is what is answered.
fn list(root: &Path, kind: &str, vmid: &str, worker: &Child) -> fs_err::File {
    let pid = worker.id();
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let start: u64 = after_name.split_whitespace().nth(19).unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let upid = format!("UPID:pve1:{pid:08X}:{start:08X}:{now:08X}:{kind}:{vmid}:root@pam:");
    let tasks = root.join("var/log/pve/tasks");
    let digit = format!("{now:08X}").pop().unwrap();
    let folder = tasks.join(digit.to_string());
    fs_err::create_dir_all(&folder).unwrap();
    let log = fs_err::File::create(folder.join(&upid)).unwrap();
    // The daemon's own tasks are in it: as PVE does, under the list's lock.
    let lock =
        fs_err::OpenOptions::new().create(true).append(true).open(tasks.join(".active.lock"));
    let lock =
        nix::fcntl::Flock::lock(lock.unwrap().into_file(), nix::fcntl::FlockArg::LockExclusive);
    let mut active = fs_err::OpenOptions::new();
    let mut active = active.create(true).append(true).open(tasks.join("active")).unwrap();
    active.write_all(format!("{upid} 0\n").as_bytes()).unwrap();
    drop(lock.unwrap());
    log
}

/// The worker: in a session of its own, and not before its parent has listed it.
pub(crate) fn work(root: &Path, call: &Call, plan: &Plan) -> ExitCode {
    nix::unistd::setsid().unwrap();
    if !plan.is("stubborn") {
        SigSet::from_iter([Signal::SIGTERM]).thread_unblock().unwrap();
    }
    let mut stdout = std::io::stdout();
    std::io::stdin().lines().next().unwrap().unwrap();
    for line in plan.lines() {
        writeln!(stdout, "{line}").unwrap();
    }
    std::thread::sleep(Duration::from_millis(plan.number("sleep_ms")));
    if let Some(line) = plan.text("after_sleep") {
        writeln!(stdout, "{line}").unwrap();
    }
    let outcome = match plan.text("fail") {
        Some(words) => Err(words.to_owned()),
        None => tree::apply(root, call),
    };
    let Err(words) = outcome else { return ExitCode::SUCCESS };
    writeln!(stdout, "{ERROR}{}", words.replace('\n', "\x02")).unwrap();
    ExitCode::FAILURE
}
