//! schemathesis reads our own document and sends what it allows, and what it does not. What may be
//! answered is in `tests/schemathesis/checks.py`.

use std::path::Path;
use std::process::Command;

use rstest::rstest;

use crate::{ANN, ROOT};

/// For each of the two, beside each other.
const SECONDS: &str = "35";

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
    assert!(said.contains("Tested:"), "{said}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.get("/version").status, 200);
}
