//! Finds Debian's `libcrun.a` and has executables link it.
//!
//! Without the archive this still succeeds, with a warning that says what to do: `cargo check`, clippy and
//! rustdoc need no library, and a build script cannot tell them from a build. A build then ends in the
//! linker, which misses `libcrun_*`, and cargo shows the warning above its complaint.

use std::env;
use std::path::{Path, PathBuf};

/// Keep in step with `version` in `scripts/libcrun.sh` (there with Debian's revision) and `VERSION`
/// in `src/lib.rs`.
const VERSION: &str = "1.28";
const CACHE: &str = ".cache/libcrun/1.28-1";

fn main() {
    println!("cargo::rerun-if-env-changed=LIBCRUN_DIR");
    let dir = env::var_os("LIBCRUN_DIR").map_or_else(workspace_cache, PathBuf::from);
    let archive = dir.join("libcrun.a");
    println!("cargo::rerun-if-changed={}", archive.display());
    println!("cargo::rustc-link-search=native={}", dir.display());

    if let Err(reason) = usable(&archive) {
        println!(
            "cargo::warning=cannot link libcrun: {reason}. Run `make libcrun` (it needs the packages \
             gcc libjson-c-dev libcap-dev libseccomp-dev), or set LIBCRUN_DIR to the folder of libcrun.a"
        );
    }
    // Not bundled into the rlib: the objects are wanted once, in the executable.
    println!("cargo::rustc-link-lib=static:-bundle=crun");
    for library in ["json-c", "cap", "seccomp", "m", "dl"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

fn workspace_cache() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let workspace =
        Path::new(&package).ancestors().nth(2).expect("the package is in ffi/libcrun-sys");
    workspace.join(CACHE)
}

/// The declarations fit one version only, and its number is in the archive as a C string.
fn usable(archive: &Path) -> Result<(), String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a build script has no dependencies; the path is named below"
    )]
    let bytes = std::fs::read(archive).map_err(|err| format!("{}: {err}", archive.display()))?;
    let marker = format!("\0{VERSION}\0");
    if bytes.windows(marker.len()).any(|window| window == marker.as_bytes()) {
        return Ok(());
    }
    Err(format!("{} is not version {VERSION}", archive.display()))
}
