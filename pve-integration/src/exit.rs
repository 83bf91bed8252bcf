//! The record a monitor leaves when its container ends.
