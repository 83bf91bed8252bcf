//! What PVE's API does not show of a container: its namespaces, how it ended, what it said, and what
//! this host can run.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use openapi::Vmid;
use openapi::answer::{GuestState, OciContainer, OciExit, OciRuntime, OciRuntimes, TaskLogLine};
use pve_integration::exit::ExitRecord;
use pve_integration::oci_config::RuntimeKind;
use serde_json::{Value, json};

use super::{GuestError, Guests};
use crate::runtime::RuntimeError;

/// How long a probe is believed: a package may be installed any time.
const PROBE_AGE: Duration = Duration::from_secs(30);
/// Of a log's end that is searched for lines. Nobody reads more by this way.
const LOG_TAIL: u64 = 1 << 20;
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

#[derive(Debug, Default)]
pub(super) struct Probed(Mutex<Option<(Instant, Vec<OciRuntime>)>>);

impl Guests {
    pub(crate) async fn inspect(&self, vmid: Vmid) -> Result<OciContainer, GuestError> {
        self.blocking(move |guests| {
            guests.read(vmid)?;
            let choice = guests.choice(vmid)?;
            let running = guests.is_running(vmid)?;
            let found = running.then(|| guests.0.running.of(&guests.0.root, vmid)).flatten();
            let exit = ExitRecord::read(&guests.0.root.exit_record(vmid))
                .map_err(|err| GuestError::io("exit record", err))?;
            Ok(OciContainer {
                vmid,
                state: if running { GuestState::Running } else { GuestState::Stopped },
                runtime: choice.runtime.to_string(),
                runtime_by: choice.by.as_str().to_owned(),
                runs_under: found
                    .as_ref()
                    .map(|_| guests.0.supervised.runtime_of(vmid).to_string()),
                pid: found.as_ref().map(|found| found.pid),
                cgroup: found.as_ref().map(|found| found.cgroup.relative().display().to_string()),
                oom_kills: found.as_ref().map(|found| found.cgroup.oom_kills()),
                namespaces: found.as_ref().map(|found| namespaces(found.pid)),
                // While it runs, the record is that of the run before.
                exit: exit.map(exit_answer),
            })
        })
        .await
    }

    /// The last `limit` lines of the container's output; 0 means all that is kept at hand.
    pub(crate) async fn logs(
        &self,
        vmid: Vmid,
        limit: usize,
    ) -> Result<Vec<TaskLogLine>, GuestError> {
        self.blocking(move |guests| {
            guests.read(vmid)?;
            let text = tail(&guests.0.root.container_log(vmid), LOG_TAIL)
                .map_err(|err| GuestError::io("log", err))?;
            Ok(numbered(&String::from_utf8_lossy(&text), limit))
        })
        .await
    }

    /// What each runtime finds on this host.
    pub(crate) async fn runtimes(&self) -> OciRuntimes {
        let known = self.0.probed.0.lock().expect("nothing panics while it holds the lock").clone();
        if let Some((at, runtimes)) = known
            && at.elapsed() < PROBE_AGE
        {
            return OciRuntimes { runtimes };
        }
        let mut runtimes = Vec::new();
        for kind in RuntimeKind::ALL {
            runtimes.push(answer(kind, self.0.runtimes.of(kind).probe().await));
        }
        let fresh = Some((Instant::now(), runtimes.clone()));
        *self.0.probed.0.lock().expect("nothing panics while it holds the lock") = fresh;
        OciRuntimes { runtimes }
    }
}

pub(super) fn answer(kind: RuntimeKind, probe: Result<Value, RuntimeError>) -> OciRuntime {
    let name = kind.to_string();
    match probe {
        Ok(probe) => {
            let usable = probe.get("usable").and_then(Value::as_bool).unwrap_or(false);
            let reason = if usable { None } else { Some(missing(&probe)) };
            OciRuntime { name, usable, reason, probe: Some(probe) }
        }
        Err(err) => {
            let reason = Some(err.to_string());
            // Whoever could be asked says it in the same form.
            let missing =
                if let RuntimeError::Unusable(missing) = err { Some(missing) } else { None };
            let probe = missing.map(|missing| json!({ "usable": false, "missing": [missing] }));
            OciRuntime { name, usable: false, reason, probe }
        }
    }
}

/// `missing: [{what, why, package}]` in one line.
fn missing(probe: &Value) -> String {
    let items =
        probe.get("missing").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let line = |item: &Value| {
        let of = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
        let package = match of("package") {
            "" => String::new(),
            package => format!("; install the package {package}"),
        };
        format!("{}: {}{package}", of("what"), of("why"))
    };
    let lines: Vec<String> = items.iter().map(line).collect();
    if lines.is_empty() { "the probe does not say why".to_owned() } else { lines.join(", ") }
}

fn namespaces(pid: u32) -> BTreeMap<String, u64> {
    let inode = |kind: &&str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        Some(((*kind).to_owned(), fs_err::metadata(path).ok()?.ino()))
    };
    NAMESPACES.iter().filter_map(inode).collect()
}

fn exit_answer(record: ExitRecord) -> OciExit {
    OciExit {
        starttime: record.starttime,
        endtime: record.endtime,
        duration_ms: record.duration_ms,
        exit_code: record.exit_code,
        signal: record.signal,
        oom_killed: record.oom_killed,
        error: record.error,
    }
}

/// The last bytes of a file, from a line's begin; nothing if there is no file.
fn tail(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let len = file.metadata()?.len();
    let skipped = len.saturating_sub(most);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    if skipped > 0 {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..end);
    }
    Ok(bytes)
}

fn numbered(text: &str, limit: usize) -> Vec<TaskLogLine> {
    let lines: Vec<&str> = text.lines().collect();
    let skip = if limit == 0 { 0 } else { lines.len().saturating_sub(limit) };
    let kept = lines.iter().skip(skip).zip(1..);
    kept.map(|(line, n)| TaskLogLine { n, t: (*line).trim_end_matches('\r').to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_misses_something_says_what_to_install() {
        let probe = json!({
            "usable": false,
            "missing": [{"what": "libcrun", "why": "not linked", "package": "proxmox-lxcri"}],
        });

        let runtime = answer(RuntimeKind::Crun, Ok(probe));

        assert!(!runtime.usable);
        assert_eq!(
            runtime.reason.as_deref(),
            Some("libcrun: not linked; install the package proxmox-lxcri")
        );
    }

    #[test]
    fn the_tail_of_a_log_starts_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("101.log");
        fs_err::write(&path, "first line\nsecond\r\nthird\n").unwrap();

        assert_eq!(tail(&path, 18).unwrap(), b"second\r\nthird\n");
        assert_eq!(tail(&dir.path().join("none"), 18).unwrap(), b"");
        let text = "second\r\nthird\n";
        assert_eq!(numbered(text, 1), [TaskLogLine { n: 1, t: "third".to_owned() }]);
        assert_eq!(numbered(text, 0).len(), 2);
        assert_eq!(numbered(text, 0)[0].t, "second");
    }

    #[test]
    fn shows_our_own_namespaces() {
        let found = namespaces(std::process::id());
        assert!(found.contains_key("net") && found.contains_key("pid"), "{found:?}");
    }
}
