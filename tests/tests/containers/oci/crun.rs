//! The same with Debian's crun.

use std::process::Stdio;

use fs_err as fs;
use serde_json::{Value, json};

use super::bundle::Bundle;

/// What podman and people do with a container. Not `exec -t` where nobody has a terminal: crun fails
/// there, ours gives the program one.
const COMPARED: &[&[&str]] = &[
    &["create", "c1"],
    &["create", "c1"],
    &["state", "c1"],
    &["start", "c1"],
    &["start", "c1"],
    &["list"],
    &["list", "-q"],
    &["list", "-f", "json"],
    &["exec", "c1", "sh", "-c", "echo $A; exit 9"],
    &["exec", "c1", "nothing"],
    &["pause", "c1"],
    &["state", "c1"],
    &["exec", "c1", "true"],
    &["resume", "c1"],
    &["update", "--pids-limit", "10", "c1"],
    &["delete", "c1"],
    &["kill", "c1", "KILL"],
    &["ps", "c2"],
    &["delete", "-f", "c1"],
    &["state", "c1"],
    &["delete", "c1"],
    &["delete", "-f", "c1"],
];

#[test]
fn does_what_debian_s_crun_does() {
    let theirs = Bundle::of("/usr/bin/crun".into());
    let ours = Bundle::new();
    for words in COMPARED {
        let (theirs, ours) = (told(&theirs, words), told(&ours, words));
        assert_eq!(ours, theirs, "{words:?}");
    }
}

/// The exit code and what was printed, but for what is never the same twice.
fn told(bundle: &Bundle, words: &[&str]) -> (Option<i32>, Value) {
    let out = bundle.path("told");
    let mut command = bundle.command(words);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(fs::File::create(&out).unwrap().into_parts().0);
    let status = command.status().unwrap();
    let printed = fs::read_to_string(out).unwrap();
    let folder = bundle.folder.path().to_str().unwrap();
    let printed = match serde_json::from_str::<Value>(&printed) {
        Ok(mut json) => {
            let rows: Vec<_> = if let Value::Array(rows) = &mut json {
                rows.iter_mut().collect()
            } else {
                vec![&mut json]
            };
            for row in rows {
                for key in ["pid", "created"] {
                    if let Some(value) = row.get_mut(key) {
                        *value = json!(value.as_i64().is_none_or(|pid| pid > 0));
                    }
                }
            }
            json.to_string().replace(folder, "BUNDLE").into()
        }
        Err(_) if words == ["list"] => {
            // The columns' names, the container's and its state.
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let lines: Vec<_> = printed.lines().map(words).collect();
            json!([lines[0], lines[1][0], lines[1][2]])
        }
        Err(_) => printed.replace(folder, "BUNDLE").into(),
    };
    // Debian 12's crun lets internal results through: -1, -3.
    (status.code().map(|code| if code >= 250 { 1 } else { code }), printed)
}
