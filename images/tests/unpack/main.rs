//! Archives as they come and archives made to hurt, unpacked into a folder of their own.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod build;
mod damaged;
mod hostile;
mod image;
mod layers;
mod limits;
mod plain;
mod round_trip;
