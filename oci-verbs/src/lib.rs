//! The command line of an OCI runtime: runc's verbs and options, under which podman, containerd and
//! people call one, with what crun adds. Definitions only. `proxmox-lxcri` shows and checks them and
//! hands the words on; `lxcri-monitor`, where libcrun is, reads them again and does it.

mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use value::{Bytes, ContainerId, EnvVar, InvalidValue, Signal, UserSpec};

/// The verbs alone, as `lxcri-monitor oci` reads them.
#[derive(Debug, Parser)]
#[command(name = "proxmox-lxcri", version)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What goes before the verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the OCI runtime's commands")]
pub struct Global {
    /// Where the containers' state lies [default: /run/proxmox-lxcri/oci].
    // Other commands have a --root of their own, which goes anywhere behind them.
    #[arg(id = "state_root", long = "root", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Write errors and warnings to this file too.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How they are written there.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// How much is said.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    pub log_level: LogLevel,
    /// As --log-level=debug.
    #[arg(long)]
    pub debug: bool,
    /// Which runtime runs a bundle: auto is crun where it can be used, else LXC. Later commands know.
    #[arg(long, value_name = "RUNTIME", value_enum, default_value_t)]
    pub runtime: Runtime,
    /// Who makes the container's cgroup.
    #[arg(long, value_name = "MANAGER", value_enum, default_value_t)]
    pub cgroup_manager: CgroupManager,
    /// As --cgroup-manager=systemd.
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Taken because runc has it; who calls decides.
    #[arg(long, value_name = "WHETHER", hide = true)]
    pub rootless: Option<Rootless>,
    /// Say of an error where it came from.
    #[arg(short, long, global = true, help_heading = None::<&str>)]
    pub verbose: bool,
}

impl Global {
    pub fn level(&self) -> LogLevel {
        if self.debug { LogLevel::Debug } else { self.log_level }
    }

    pub fn manager(&self) -> CgroupManager {
        if self.systemd_cgroup { CgroupManager::Systemd } else { self.cgroup_manager }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    #[default]
    Error,
    #[value(alias = "warn")]
    Warning,
    #[value(alias = "info")]
    Debug,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    #[default]
    Auto,
    Crun,
    Lxc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    #[default]
    Cgroupfs,
    Systemd,
    /// No cgroup is made, no limit applied.
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    Auto,
    True,
    False,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a container from a bundle; its program waits for `start`.
    Create(Create),
    /// Let a created container's program run.
    Start(Named),
    /// Show a container's state as JSON.
    State(Named),
    /// Send a container's first process a signal.
    Kill(Kill),
    /// Remove a stopped container.
    Delete(Delete),
    /// Create, start, wait and delete in one.
    Run(Run),
    /// Run another program in a container.
    Exec(Exec),
    /// Show the containers.
    List(List),
    /// Show a container's processes.
    Ps(Ps),
    /// Freeze a container.
    Pause(Named),
    /// Thaw a frozen container.
    Resume(Named),
    /// Change a container's limits.
    Update(Box<Update>),
    /// Show what this runtime can do, as JSON.
    Features,
    /// Write a config.json to begin with.
    Spec(Spec),
}

#[derive(Debug, Args)]
pub struct Named {
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
}

/// What `create` and `run` share.
#[derive(Debug, Args)]
pub struct Bundle {
    /// The bundle's folder.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Read this instead of config.json.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub io: Io,
    /// Move the root filesystem instead of pivoting into it, say on an initramfs.
    #[arg(long)]
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Taken because runc has it; `create` leaves no subreaper behind.
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
}

/// Between a container's process and whoever started it.
#[derive(Debug, Args)]
pub struct Io {
    /// A unix socket that is sent the terminal's master.
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write the process id here.
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Pass on so many descriptors, from 3 on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u16,
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    pub bundle: Bundle,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub bundle: Bundle,
    /// Do not wait for the container.
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container after its end.
    #[arg(long, conflicts_with = "detach")]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// Every process of the container.
    #[arg(short, long)]
    pub all: bool,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
    /// A signal's number or name.
    #[arg(default_value = "TERM")]
    pub signal: Signal,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Kill it first if it runs; one that does not exist is no error.
    #[arg(short, long)]
    pub force: bool,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    pub io: Io,
    /// The program as an OCI process object in a file.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = [
        "command", "cwd", "env", "user", "additional_gids", "cap", "no_new_privs", "process_label", "apparmor"
    ])]
    pub process: Option<PathBuf>,
    /// Do not wait for the program.
    #[arg(short, long)]
    pub detach: bool,
    /// Give it a terminal.
    #[arg(
        short, long, value_name = "WHETHER", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", action = ArgAction::Set
    )]
    pub tty: bool,
    /// The folder it starts in.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set an environment variable beside the container's own.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<EnvVar>,
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<UserSpec>,
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// Add a capability.
    #[arg(short, long, value_name = "CAPABILITY")]
    pub cap: Vec<String>,
    #[arg(long)]
    pub no_new_privs: bool,
    /// SELinux label.
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile.
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "process"
    )]
    pub command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
    /// Names only.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Ps {
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
}

#[derive(Debug, Args)]
pub struct Update {
    /// All limits from a file in the form of config.json's linux.resources; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "limits")]
    pub resources: Option<PathBuf>,
    #[command(flatten)]
    pub limits: Limits,
    #[arg(value_name = "CONTAINER")]
    pub id: ContainerId,
}

#[derive(Debug, Args)]
#[group(id = "limits", multiple = true)]
pub struct Limits {
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Microseconds.
    #[arg(long, value_name = "TIME")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period; -1 is no limit.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    #[arg(long, value_name = "TIME")]
    pub cpu_burst: Option<u64>,
    /// Relative to others.
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    #[arg(long, value_name = "TIME")]
    pub cpu_rt_period: Option<u64>,
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Bytes, or with k, m, g behind; -1 is no limit.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory: Option<Bytes>,
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_reservation: Option<Bytes>,
    /// Memory and swap together.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<Bytes>,
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub kernel_memory: Option<Bytes>,
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<Bytes>,
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
}

#[derive(Debug, Args)]
pub struct Spec {
    /// The folder to write it in.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Write it to this file, over what is there.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For a caller who is not root.
    #[arg(long)]
    pub rootless: bool,
}

#[cfg(test)]
mod tests;
