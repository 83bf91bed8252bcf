//! Real containers through the real libcrun, from a single-threaded process as the monitor is one.
//!
//! Needs root, `busybox-static` and the right to make a mount namespace; without them it says so, and
//! fails where `CI=true`. Speaks as much of libtest's command line as `cargo test` and nextest use.
#![expect(clippy::unwrap_used, reason = "a test, though without libtest not compiled as one")]

mod calls;
mod faults;
mod inherited;
mod machine;

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;

type Case = (&'static str, fn());

fn cases() -> impl Iterator<Item = &'static Case> {
    [calls::CASES, inherited::CASES, faults::CASES].into_iter().flatten()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    // `--format terse` and the like have a value that is not a name.
    let names = args.iter().enumerate().filter(|(at, arg)| {
        let value =
            *at > 0 && ["--format", "--color", "--test-threads"].contains(&args[at - 1].as_str());
        !arg.starts_with('-') && !value
    });
    let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
    let wanted = |name: &str| {
        names.is_empty()
            || names
                .iter()
                .any(|part| if flag("--exact") { name == *part } else { name.contains(part) })
    };
    let wanted: Vec<&Case> =
        cases().filter(|(name, _)| wanted(name) && !flag("--ignored")).collect();
    let mut out = io::stdout();
    if flag("--list") {
        wanted.iter().for_each(|(name, _)| writeln!(out, "{name}: test").unwrap());
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = machine::enter() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        writeln!(
            out,
            "{} without real containers: {reason}",
            if ci { "failed" } else { "skipped" }
        )
        .unwrap();
        return if ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }

    let mut failed = 0;
    for (name, case) in &wanted {
        let passed = catch_unwind(*case).is_ok();
        failed += usize::from(!passed);
        writeln!(out, "test {name} ... {}", if passed { "ok" } else { "FAILED" }).unwrap();
    }
    writeln!(out, "{} passed, {failed} failed", wanted.len() - failed).unwrap();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
