//! BLAKE3's C interface over the Rust crate. libcrun hashes a seccomp profile with it to find the
//! compiled filter in its cache: init, some updates, one finalize.
//!
//! The C structure is 1912 bytes on libcrun's stack; we keep a pointer to a boxed hasher in its first
//! bytes, so nothing depends on how large or aligned the Rust type is.

use std::ffi::c_void;
use std::slice;

use blake3::Hasher;

/// # Safety
/// `place` is valid for writing a pointer. A place that held a hasher before loses it.
#[unsafe(no_mangle)]
unsafe extern "C" fn blake3_hasher_init(place: *mut *mut Hasher) {
    let hasher = Box::into_raw(Box::new(Hasher::new()));
    // SAFETY: the caller's structure starts with room for a pointer; `write` drops nothing there.
    unsafe { place.write_unaligned(hasher) };
}

/// # Safety
/// `place` was initialised and not yet finalized; `input` holds `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn blake3_hasher_update(
    place: *mut *mut Hasher,
    input: *const c_void,
    len: usize,
) {
    if len == 0 {
        return; // C allows a null pointer with it
    }
    // SAFETY: `blake3_hasher_init` left a pointer here.
    let hasher = unsafe { place.read_unaligned() };
    // SAFETY: it came from a box that only `blake3_hasher_finalize` frees, and C calls us in turn.
    let hasher = unsafe { &mut *hasher };
    // SAFETY: the caller lends us `len` readable bytes for this call.
    hasher.update(unsafe { slice::from_raw_parts(input.cast::<u8>(), len) });
}

/// # Safety
/// `place` was initialised and not yet finalized; `out` has room for `len` bytes. C's function may be
/// called again; this one frees the hasher, as libcrun calls it once.
#[unsafe(no_mangle)]
unsafe extern "C" fn blake3_hasher_finalize(place: *const *mut Hasher, out: *mut u8, len: usize) {
    // SAFETY: `blake3_hasher_init` left a pointer here.
    let hasher = unsafe { place.read_unaligned() };
    // SAFETY: it came from `Box::into_raw`, and the caller finalizes once.
    let hasher = unsafe { Box::from_raw(hasher) };
    // SAFETY: the caller lends us `len` writable bytes, all of which get a value.
    let out = unsafe { slice::from_raw_parts_mut(out, len) };
    hasher.finalize_xof().fill(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_hash_of_abc() {
        let mut place = [std::ptr::null_mut(); 239]; // 1912 bytes, as in C
        let mut out = [0; 32];
        // SAFETY: `place` is large enough and lives on.
        unsafe { blake3_hasher_init(place.as_mut_ptr()) };
        for part in ["a", "", "bc"] {
            // SAFETY: initialised above; the slice is valid for its own length.
            unsafe { blake3_hasher_update(place.as_mut_ptr(), part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: initialised above, finalized only here; `out` is valid for its own length.
        unsafe { blake3_hasher_finalize(place.as_ptr(), out.as_mut_ptr(), out.len()) };
        assert_eq!(out[..8], [0x64, 0x37, 0xb3, 0xac, 0x38, 0x46, 0x51, 0x33]);
    }
}
