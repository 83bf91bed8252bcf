//! Task logs, the index and the active list as PVE keeps them.
