//! The C library's heap, asked to give back what is free: glibc by itself returns only the end of it,
//! so that a burst of large answers, or a start, would stay in memory for as long as the process.
#![expect(unsafe_code, reason = "glibc has no other way to its heap")]

/// Return whole free pages to the kernel, malloc_trim(3). Takes about a millisecond, in which nobody
/// else can allocate; does nothing where the C library is not glibc.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_pages() -> usize {
        let text = fs_err::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Small pieces with one left in between, as a start leaves them.
    #[test]
    #[cfg(target_env = "gnu")]
    fn gives_back_the_middle_of_the_heap() {
        let mut pieces: Vec<Box<[u8; 2048]>> = (0..20_000).map(|_| Box::new([1; 2048])).collect();
        let last = pieces.pop();
        drop(pieces);
        let before = resident_pages();

        give_back();

        let after = resident_pages();
        assert!(after + 5_000 < before, "{before} pages, then {after}");
        assert_eq!(last.unwrap()[0], 1);
    }
}
