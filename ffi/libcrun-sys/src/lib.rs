//! Declarations of libcrun's C interface.
