//! Compiles what tests run inside containers: C, as it is about system calls, and static, as the containers
//! hold nothing but busybox.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    for (name, variable) in
        [("probe", "LXCRI_PROBE"), ("quota", "LXCRI_QUOTA"), ("huge", "LXCRI_HUGE")]
    {
        let source = format!("probes/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let folder = std::env::var_os("OUT_DIR").expect("cargo sets it for build scripts");
        let program = PathBuf::from(folder).join(name);
        let gcc = Command::new("gcc")
            .args(["-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(&source)
            .status();
        assert!(gcc.is_ok_and(|status| status.success()), "gcc cannot compile {source}");
        println!("cargo::rustc-env={variable}={}", program.display());
    }
}
