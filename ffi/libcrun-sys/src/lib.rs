//! Declarations of libcrun's C interface, version 1.28, and the few symbols that its archive lacks.
//!
//! The layouts come from bindgen over 1.28's headers, cut down to what `libcrun` calls; those headers
//! include their own `config.h`, so they are not installed anywhere and the result is kept here.
//! `tests/layout.rs` compares them with the library that is linked. The safe interface, and everything
//! that must be known about calling into it, is in the package `libcrun`.
//!
//! An executable that links this package starts twice: a constructor in libcrun re-executes it from a
//! read-only clone of itself, so that a container cannot overwrite the binary through `/proc/PID/exe`
//! (CVE-2019-5736). Forked children are not affected.
#![expect(unsafe_code, reason = "declares a C interface and defines symbols that C code links to")]
#![expect(non_camel_case_types, reason = "the C names, so that they can be found in the C sources")]

mod absent;
mod functions;
mod types;

pub use functions::*;
pub use types::*;

/// The only version these declarations are true for; libcrun reports its own in
/// [`libcrun_container_get_features`].
pub const VERSION: &std::ffi::CStr = c"1.28";
