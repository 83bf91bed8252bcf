//! The walk through an archive.

use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::{Limits, Progress, Summary, UnpackError};

/// Unpack `archive`, compressed or not, into the folder `root`.
pub fn unpack(
    _root: BorrowedFd<'_>,
    _archive: impl Read,
    _limits: &Limits,
    _progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, UnpackError> {
    Err(UnpackError::Empty)
}
