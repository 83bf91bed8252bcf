//! Loop devices that vanish with their last user.
