//! One small process per container: mounts, libcrun, log, exit status.

fn main() {}
