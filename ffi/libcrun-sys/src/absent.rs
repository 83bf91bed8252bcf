//! Symbols that Debian's archive needs and that are not linked from elsewhere: newer glibc's number
//! parsers, BLAKE3 and libsystemd. libcrun calls them by name; nothing in Rust does.

mod blake3;
mod isoc23;
mod systemd;
