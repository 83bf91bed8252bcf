//! Root filesystems from archives: detected, limited, unpacked.
