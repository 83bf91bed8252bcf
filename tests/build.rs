//! Compiles the attempts that `tests/containers/probes.rs` makes inside containers: C, as they are about
//! system calls, and static, as the containers hold nothing but busybox.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "probes/probe.c";
    println!("cargo::rerun-if-changed={source}");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it for build scripts");
    let program = PathBuf::from(folder).join("probe");
    let gcc = Command::new("gcc")
        .args(["-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(gcc.is_ok_and(|status| status.success()), "gcc cannot compile {source}");
    println!("cargo::rustc-env=LXCRI_PROBE={}", program.display());
}
