//! A stand-in for PVE's `pct`, not shipped: it takes the command lines that `pct` takes and refuses
//! others in PVE's words, writes down how it was called, and does as `control.json` says: print
//! lines, warn, take its time, fail. As `pct` it works in a child with a session of its own, which
//! is a task in PVE's list. Called as `pct-stand-in FOLDER ROOT ARGUMENTS...`.
#![expect(clippy::unwrap_used, reason = "a test's program fails as tests do")]

mod grammar;
mod task;
mod tree;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

/// What PVE's command line ends with for nearly every error.
const FAILED: u8 = 255;

/// What is to happen, of `control.json` by command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan(Value);

impl Plan {
    fn read(folder: &Path, verb: &str) -> Self {
        let text = fs_err::read_to_string(folder.join("control.json")).unwrap_or_default();
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        Self(all[verb].clone())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0["lines"].as_array().cloned().unwrap_or_default();
        lines.iter().filter_map(|line| Some(line.as_str()?.to_owned())).collect()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0[name].as_str()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap());
    let root = PathBuf::from(arguments.next().unwrap());
    let arguments: Vec<String> = arguments.collect();
    if arguments.first().is_some_and(|word| word == task::WORKER) {
        let call = grammar::parse(&arguments[1..]).unwrap();
        return task::work(&root, &call, &Plan::read(&folder, &call.verb));
    }
    let parsed = grammar::parse(&arguments);
    note(&folder, &arguments, parsed.as_ref().is_ok_and(|call| call.asks_password));
    let call = match parsed {
        Ok(call) => call,
        Err(refusal) => return fail(&refusal),
    };
    let plan = Plan::read(&folder, &call.verb);
    let outcome = match &call.task {
        Some(kind) => task::run(&folder, &root, kind, &call, &arguments),
        None => plain(&root, &call, &plan),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(warnings) => {
            say(&format!("Task finished with {warnings} warning(s)!"));
            ExitCode::SUCCESS
        }
        Err(words) => fail(&words),
    }
}

/// A command that is no task.
fn plain(root: &Path, call: &grammar::Call, plan: &Plan) -> Result<u32, String> {
    std::thread::sleep(std::time::Duration::from_millis(plan.number("sleep_ms")));
    if let Some(words) = plan.text("fail") {
        return Err(words.to_owned());
    }
    tree::apply(root, call)?;
    Ok(u32::try_from(plan.number("warnings")).unwrap())
}

/// One line of JSON a call.
fn note(folder: &Path, arguments: &[String], asks_password: bool) {
    let stdin = if asks_password {
        let mut answers = String::new();
        std::io::stdin().read_to_string(&mut answers).unwrap();
        json!(answers)
    } else {
        let link = fs_err::read_link("/proc/self/fd/0").unwrap();
        json!({ "is": link, "terminal": std::io::stdin().is_terminal() })
    };
    let group = nix::unistd::getpgrp() == nix::unistd::getpid();
    let mut environment: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    environment.sort();
    let pid = std::process::id();
    let line = json!({
        "argv": arguments, "stdin": stdin, "own_group": group, "environment": environment, "pid": pid,
        "keys": arguments.iter().find_map(|word| {
            fs_err::read_to_string(word.strip_prefix("--ssh-public-keys=")?).ok()
        }),
    });
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.create(true).append(true).open(folder.join("calls")).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn fail(words: &str) -> ExitCode {
    say(words);
    ExitCode::from(FAILED)
}

fn say(words: &str) {
    writeln!(std::io::stderr(), "{words}").unwrap_or_default();
}
