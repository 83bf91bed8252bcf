//! What this host offers to containers.
