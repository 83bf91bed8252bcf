//! The answers of a real PVE 9.2 server, recorded with the world they were given in, beside ours.
//!
//! A recording is a folder: `requests.jsonl` holds one request and its answer a line, `world` is
//! `etc/pve` at the start of each of its sessions, `host` what lies beside it below the root, the
//! cgroups of the containers that ran among it. `tests/golden` is one, and so is each folder in it
//! and each that the variable `LXCRI_GOLDEN` names, with colons between them. Within a session
//! requests build on each other.
//!
//! Every answer is compared whole: status line, headers, body. What the comparer knows to differ from
//! run to run is in `compare`; everything else that differs must be in `differences.toml`.

mod compare;
mod differences;
mod session;

use std::path::{Path, PathBuf};

use differences::Differences;
use session::{Outcome, Recording};

/// The share of the recorded answers that we must give.
const ENOUGH_PERCENT: usize = 98;

#[test]
fn answers_as_the_recorded_server_did() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let differences = Differences::read(&golden.join("differences.toml"));
    let recordings: Vec<_> =
        folders(&golden).iter().map(|folder| Recording::read(folder, &golden)).collect();
    let sessions: Vec<_> = recordings.iter().flat_map(Recording::sessions).collect();
    assert!(sessions.len() > 2, "no recording in {}", golden.display());

    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let started: Vec<_> = sessions.iter().map(|each| scope.spawn(|| each.replay())).collect();
        started.into_iter().flat_map(|each| each.join().expect("the session ends")).collect()
    });

    let recorded: usize = recordings.iter().map(Recording::requests).sum();
    assert_eq!(outcomes.len(), recorded, "lines without a session are sent by nobody");

    let mut judged = differences.judge();
    let unexplained: Vec<_> =
        outcomes.iter().filter_map(|outcome| judged.unexplained(outcome)).collect();
    let (total, matched) = (outcomes.len(), judged.matched);
    say(&format!("replay: {matched} of {total} recorded answers match"));
    assert!(
        unexplained.is_empty(),
        "{matched} of {total} match; {} differ and are not listed:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    assert_eq!(judged.unused(), [""; 0], "these no longer differ; strike them from the list");
    assert!(matched * 100 >= total * ENOUGH_PERCENT, "only {matched} of {total} match");
}

/// Those that hold a recording.
fn folders(golden: &Path) -> Vec<PathBuf> {
    let has_one = |folder: &PathBuf| folder.join("requests.jsonl").exists();
    let inner = fs_err::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = inner.chain([golden.to_owned()]).filter(has_one).collect();
    if let Some(named) = std::env::var_os("LXCRI_GOLDEN").filter(|named| !named.is_empty()) {
        for folder in std::env::split_paths(&named) {
            assert!(has_one(&folder), "LXCRI_GOLDEN: no recording in {}", folder.display());
            folders.push(folder);
        }
    }
    folders.sort();
    folders.dedup();
    folders
}

#[expect(clippy::print_stderr, reason = "libtest captures it; --no-capture shows it")]
fn say(text: &str) {
    eprintln!("{text}");
}
