//! Whether the process or thread that a UPID names still lives: its number alone may have been
//! given to another, so the start time counts too.

use std::os::unix::ffi::OsStrExt;

use fs_err as fs;

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Field 22: clock ticks since boot.
    pub start: u64,
    pub zombie: bool,
    pub parent: u32,
    pub group: u32,
}

/// A process by number, or a thread: `/proc` answers for both. `None` if there is none.
pub fn process(pid: u32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

impl Process {
    /// The thread that calls this.
    pub fn this_thread() -> Option<Self> {
        parse(&fs::read("/proc/thread-self/stat").ok()?)
    }
}

/// The name in parentheses may hold anything, parentheses and blanks included, but not the last
/// closing one.
fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let pid = std::str::from_utf8(stat.get(..open)?).ok()?.trim().parse().ok()?;
    let rest = std::ffi::OsStr::from_bytes(stat.get(close + 1..)?).to_str()?;
    let mut fields = rest.split_ascii_whitespace(); // the first is field 3
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Process { pid, start, zombie, parent, group })
}

/// PVE's `check_process_running`.
pub fn is_running(pid: u32, start: u64) -> bool {
    process(pid).is_some_and(|process| process.start == start && !process.zombie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_past_any_name() {
        let stat = b"148 (a) b (c) S 1 77 148 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 326212 9 10\n";
        let process = parse(stat).unwrap();

        assert_eq!((process.pid, process.start), (148, 326_212));
        assert_eq!((process.parent, process.group), (1, 77));
        assert!(!process.zombie && parse(b"1 (x Z").is_none() && parse(b"").is_none());
    }

    #[test]
    fn knows_a_thread_until_it_ends() {
        let thread = std::thread::spawn(|| Process::this_thread().unwrap());
        let ended = thread.join().unwrap();
        let this = Process::this_thread().unwrap();

        assert!(is_running(this.pid, this.start));
        assert!(!is_running(this.pid, this.start + 1));
        // The kernel may take a moment to forget it.
        for _ in 0..200 {
            if !is_running(ended.pid, ended.start) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the thread is still there");
    }
}
