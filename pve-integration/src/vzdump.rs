//! What vzdump knows besides the archives themselves: how a run is told what to do, how backups are
//! named, which of them are kept. As pve-manager's `PVE/VZDump.pm` and pve-storage's `PVE/Storage.pm`.

mod defaults;
mod name;
mod notes;
mod options;
mod retention;

pub use defaults::defaults;
pub use name::{ArchiveInfo, BackupKind};
pub use notes::{NoteFacts, check_template, notes};
pub use options::{Compress, Mode, Options, command_line};
pub use retention::{Mark, Retention, mark};
