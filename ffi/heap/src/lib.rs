//! Memory that a process has no more use for, given back: glibc by itself returns only the end of its
//! heap, and the kernel only takes pages of code away when it is short of memory, so that a burst of
//! large answers, or a start, would stay in memory for as long as the process.
#![expect(unsafe_code, reason = "glibc and madvise(2) have no other way")]

use std::io;

/// Return whole free pages to the kernel, malloc_trim(3). Takes about a millisecond, in which nobody
/// else can allocate; does nothing where the C library is not glibc.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Let go of all pages of code, the program's and its libraries'. Each comes back from the page cache
/// when it is run again, so this pays for who has done its work and waits.
pub fn forget_code() -> io::Result<()> {
    for (start, len) in code(&fs_err::read_to_string("/proc/self/maps")?) {
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is a mapping of this process, as the kernel has just listed it, and none
        // of code is ever unmapped while we run. It is private, of a file and cannot be written, so
        // it holds the file's bytes, and these are what the next access finds again.
        let done = unsafe { libc::madvise(start, len, libc::MADV_DONTNEED) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Start and length of the executable, unwritable, private mappings of files in a maps file, proc(5).
fn code(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let inode = fields.nth(2)?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        (permissions == "r-xp" && inode != "0").then_some((start, end.checked_sub(start)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_pages() -> usize {
        let text = fs_err::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn code_is_what_a_file_holds_and_nobody_writes() {
        let maps = "55d0-55d8 r--p 00000000 fd:01 12 /usr/bin/x\n\
                    55d8-55f0 r-xp 00008000 fd:01 12 /usr/bin/a name\n\
                    55f0-5600 rw-p 00000000 00:00 0 [heap]\n\
                    7f00-7f10 rwxp 00000000 fd:01 13 /usr/lib/y.so\n\
                    7f10-7f20 r-xp 00000000 fd:01 13 /usr/lib/y.so\n\
                    7ffe-7fff r-xp 00000000 00:00 0 [vdso]\n";
        let found: Vec<_> = code(maps).collect();
        assert_eq!(found, [(0x55d8, 0x18), (0x7f10, 0x10)]);
    }

    #[test]
    fn forgotten_code_still_runs() {
        let before = resident_pages();

        forget_code().unwrap();

        let after = resident_pages();
        assert!(after < before, "{before} pages, then {after}");
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
