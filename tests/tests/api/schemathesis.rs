//! schemathesis reads our own document and sends what it allows, and what it does not. What may be
//! answered is in `tests/schemathesis/checks.py`.

use std::path::Path;
use std::process::Command;

use rstest::rstest;

use crate::{ANN, ROOT};

/// For each of the two, beside each other. A busy machine needs half of it to send one round.
const SECONDS: &str = "60";
/// Fewer operations would mean that the document or the filter lost some.
const AT_LEAST: usize = 190;

#[rstest]
#[case::who_may_all(&format!("PVEAPIToken={ROOT}"))]
#[case::who_may_look_at_one_guest(ANN)]
fn finds_no_answer_outside_the_document(#[case] token: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = here.join("../.cache/schemathesis/bin/st");
    assert!(program.exists(), "no {}; scripts/deps.sh test installs it", program.display());
    let daemon = crate::with_guest().start();
    let (url, folder) = (format!("http://{}/api2", daemon.address()), tempfile::tempdir().unwrap());
    let out = Command::new(program)
        .arg("--config-file")
        .arg(here.join("schemathesis/schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json"), "--url", &format!("{url}/json")])
        .args(["--header", &format!("Authorization: {token}"), "--max-time", SECONDS])
        .args(std::env::var("LXCRI_SEED").map(|seed| format!("--seed={seed}")))
        .env("PYTHONPATH", here.join("schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "checks")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_eq!(left_out(&said), Some(0), "not all that was selected was tested in time:\n{said}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.get("/version").status, 200);
}

/// How many of the selected operations the summary does not count as tested.
fn left_out(said: &str) -> Option<usize> {
    let number = |head: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(head))?;
        line.trim().split('/').next()?.parse::<usize>().ok()
    };
    let (selected, tested) = (number("Selected:")?, number("Tested:")?);
    let whole =
        selected >= AT_LEAST && number("Skipped:").is_none() && number("Errored:").is_none();
    whole.then(|| selected.abs_diff(tested))
}

#[rstest]
#[case::all("  Selected: 199/203\n  Tested: 199\n", Some(0))]
#[case::some("  Selected: 199/203\n  Tested: 150\n", Some(49))]
#[case::skipped("  Selected: 199/203\n  Tested: 199\n  Skipped: 2\n", None)]
#[case::few("  Selected: 19/203\n  Tested: 19\n", None)]
#[case::no_summary("Tested: 199\n", None)]
fn the_summary_is_read(#[case] said: &str, #[case] expected: Option<usize>) {
    assert_eq!(left_out(said), expected);
}
