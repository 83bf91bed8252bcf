//! Why a container cannot be started, cleaned up or filled. The last line of standard error is one
//! of these with its chain, and the daemon shows it to the user as it stands.

use std::io;
use std::path::PathBuf;

use openapi::{Vmid, VolumeId};
use pve_integration::bundle::{BundleError, DeviceError, SurroundingsError};
use pve_integration::ct_config::{ConfigError, ValueError};
use pve_integration::network::NetworkError;
use pve_integration::storage::StorageError;

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("CT {0} already running")]
    AlreadyRunning(Vmid),
    #[error("CT {0} not running")]
    NotRunning(Vmid),
    /// PVE's words.
    #[error("you can't start a CT if it's a template")]
    Template,
    #[error("bridge '{0}' does not exist")]
    NoBridge(String),
    #[error("cannot {what}")]
    Network { what: String, source: io::Error },
    /// PVE's words.
    #[error("interface {link} already exist in bridge {bridge}")]
    VlanTaken { link: String, bridge: String },
    /// What was said in a worker of libcrun's.
    #[error("{0}")]
    InWorker(String),
    #[error("volume '{volume}' is a {format} image, which cannot be mounted for a container")]
    VolumeFormat { volume: VolumeId, format: &'static str },
    #[error("directory '{}' does not exist", .0.display())]
    NoDirectory(PathBuf),
    #[error("'{}' is not mounted: it is, or lies below, a symbolic link", .0.display())]
    LinkToSource(PathBuf),
    #[error("volume '{volume}' is in use by {}", .device.display())]
    VolumeInUse { volume: VolumeId, device: PathBuf },
    #[error("unsupported mount option '{0}'")]
    MountOption(String),
    #[error("the rootfs is refused: its '/{name}' is {kind}, not a plain directory")]
    OddDirectory { name: &'static str, kind: &'static str },
    #[error("{key}: cannot make its folder '{}' in the container", mp.display())]
    MountTarget { key: String, mp: PathBuf, source: io::Error },
    #[error("the rootfs is no volume, and nothing else is backed up")]
    NoVolume,
    #[error("cannot open '{}'", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot mount {what}")]
    Mount { what: String, source: io::Error },
    #[error("cannot mount {what}: it holds no ext4 filesystem, or a damaged one")]
    NoFilesystem { what: String },
    /// libcrun names the program and what is wrong with it.
    #[error("cannot run the entrypoint: {0}")]
    Entrypoint(String),
    /// What LXC's own log gives as the first reason.
    #[error("lxc-start failed: {0}")]
    Lxc(String),
    #[error("PVE's hook '{}' failed: {why}", hook.display())]
    Hook { hook: PathBuf, why: String },
    #[error("cannot load the AppArmor profile '{name}': {why}")]
    AppArmor { name: String, why: String },
    #[error("cannot set {file} to '{value}'")]
    Limit { file: String, value: String, source: io::Error },
    #[error("{key}: the ids of {what} cannot be mapped")]
    IdMap { key: String, what: String, source: io::Error },
    #[error("volume '{volume}' is not one of CT {vmid}")]
    ForeignVolume { volume: VolumeId, vmid: Vmid },
    #[error("processes of CT {0} do not end although they were killed")]
    Unkillable(Vmid),
    #[error("the process in the rootfs {0}")]
    Confined(String),
    #[error("{what}")]
    Step { what: &'static str, source: io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Surroundings(#[from] SurroundingsError),
    #[error(transparent)]
    Plan(#[from] NetworkError),
    #[error(transparent)]
    Libcrun(crate::crun::Error),
    #[error(transparent)]
    Loop(#[from] loopdev::Error),
    #[error(transparent)]
    Unpack(#[from] images::UnpackError),
    #[error(transparent)]
    Image(#[from] images::oci::ImageError),
    #[error(transparent)]
    ImageConfig(#[from] pve_integration::oci_image::ImageConfigError),
    #[error(transparent)]
    Pack(#[from] images::PackError),
    #[error("command socket")]
    Socket(#[source] lxc_protocol::server::Error),
    /// The source names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Says what was tried where the error alone would not.
pub(crate) trait During<T> {
    fn during(self, what: &'static str) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, what: &'static str) -> Result<T> {
        self.map_err(|err| Error::Step { what, source: err.into() })
    }
}
