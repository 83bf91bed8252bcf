//! glibc 2.38 renamed the number parsers for C23's binary prefixes, which libcrun does not use. The
//! archive was built there; these let it link on Debian 12's glibc 2.36 as well.

use std::ffi::{c_char, c_int, c_long, c_longlong, c_ulong, c_ulonglong};

macro_rules! forward {
    ($($name:ident -> $to:ident: $number:ty;)*) => {$(
        /// # Safety
        /// As the C function it forwards to: `text` ends in NUL, `end` is null or writable.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(text: *const c_char, end: *mut *mut c_char, base: c_int) -> $number {
            // SAFETY: the arguments go through unchanged, and the callee asks what we ask.
            unsafe { libc::$to(text, end, base) }
        }
    )*};
}

forward! {
    __isoc23_strtol -> strtol: c_long;
    __isoc23_strtoll -> strtoll: c_longlong;
    __isoc23_strtoul -> strtoul: c_ulong;
    __isoc23_strtoull -> strtoull: c_ulonglong;
}
