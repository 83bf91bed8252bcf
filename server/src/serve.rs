//! `proxmox-lxcri serve` from the command line to the last connection. Each thing that can stop a
//! start has one line that names it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openapi::NodeName;
use pve_integration::access::{self, FirstStart};
use pve_integration::layout::{InvalidRoot, Root};
use pve_integration::storage::{Spool, StorageConfig};
use pve_integration::systemd;
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::config::{Config, ConfigError};
use crate::listen::{Listener, Server};
use crate::programs::Programs;
use crate::pveproxy::{PveProxy, Settings, SettingsError, on_pve};
use crate::router::router;
use crate::runtime::pct;
use crate::scheduler;
use crate::tls::{self, TlsError};

/// How long a request that is being answered may hold up the end.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// How long tasks may take to notice that they were cancelled.
const TASK_PATIENCE: Duration = Duration::from_secs(10);
/// How often free memory is given back.
const THRIFT: Duration = Duration::from_secs(10);
/// How often PVE's services are compared with the containers that are ours.
const UNITS: Duration = Duration::from_secs(30);

/// The command line of `serve`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Directory that holds everything: etc/pve, var/lib, run. `/` on a real host.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// This node's name in the API; the host's name if not given.
    #[arg(long)]
    node: Option<NodeName>,
    /// Where to listen [default: 127.0.0.1:8006; on a PVE node, whose pveproxy listens there, only
    /// on the unix socket].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Certificate chain (PEM) instead of the node's own.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak HTTP without TLS, say behind a proxy.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    plain_http: bool,
    /// The program that runs one container under libcrun; else lxcri-monitor is looked for beside
    /// this one, in /usr/libexec/proxmox-lxcri and in PATH.
    #[arg(long, value_name = "FILE")]
    monitor: Option<PathBuf>,
    /// The program that watches over one container under LXC, unpacks and packs; else
    /// lxcri-lxc-monitor is looked for in the same places.
    #[arg(long, value_name = "FILE")]
    lxc_monitor: Option<PathBuf>,
    /// Settings [default: etc/proxmox-lxcri/config.toml below the root].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Root(#[from] InvalidRoot),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the host's name '{0}' cannot be a node's name; give one with --node")]
    NodeName(String),
    #[error("cannot use the root directory: {0}")]
    Directory(#[source] io::Error),
    #[error("another daemon runs on this root: {0} is locked")]
    Running(PathBuf),
    #[error("cannot lay out the root directory: {0}")]
    FirstStart(#[from] access::FirstStartError),
    #[error(transparent)]
    PveProxy(#[from] SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT. Containers are not its children in any way that matters: they
/// run on.
pub async fn serve(options: Options) -> Result<(), StartError> {
    let root = Root::new(&options.root)?;
    let config = read_config(&options, &root)?;
    let node = node_name(options.node.clone().or(config.node))?;
    let _lock = lock(&root)?;
    announce(&access::first_start(&root, &node)?);
    let pveproxy = Settings::of(config.pveproxy.as_ref(), &root, &node)?;
    let pveproxy = pveproxy.map(|settings| PveProxy::new(&settings)).transpose()?;
    let programs = Programs::of(
        options.monitor.clone().or(config.monitor),
        options.lxc_monitor.clone().or(config.lxc_monitor),
    );
    let mut runtime = config.runtime;
    if runtime.pct.is_none() && on_pve(&root) {
        runtime.pct = Some(PathBuf::from(pct::PROGRAM));
    }
    let app = App::beside(pveproxy, root.clone(), node, programs, runtime, config.bind_mounts);

    let usual = || (!on_pve(app.root())).then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8006)));
    let network = match options.listen.or(config.listen).or_else(usual) {
        Some(address) => Some(network(&options, &app, address).await?),
        None => None,
    };
    if let Some(pveproxy) = app.pveproxy() {
        let url = pveproxy.url();
        if network.as_ref().and_then(Listener::address).is_some_and(|here| pveproxy.is(here)) {
            return Err(SettingsError::Itself(url.to_string()).into());
        }
        tracing::info!(%url, "what is not served here is asked of {url}");
    }
    let path = root.run_dir().join("api.sock");
    let local = Listener::unix(&path)
        .map_err(|source| StartError::Socket { path: path.clone(), source })?;

    let stop = stop_on_signal().map_err(StartError::Signals)?;
    app.guests().recover().await;
    let (swept, node) = (root.clone(), app.node().clone());
    tokio::task::spawn_blocking(move || sweep(&swept, &node));
    let server = Server::new(router(&app), stop.clone());
    if let Some(address) = network.as_ref().and_then(Listener::address) {
        let scheme = if options.plain_http { "http" } else { "https" };
        tracing::info!(%address, "listening on {scheme}://{address}");
    }
    tracing::info!(path = %path.display(), "listening on {} for root", path.display());

    let metrics = tokio::spawn(app.metrics().clone().run(stop.clone()));
    let scheduler = tokio::spawn(scheduler::run(app.clone(), stop.clone()));
    tokio::spawn(be_thrifty());
    tokio::spawn(keep_units(app.clone()));
    let listeners = TaskTracker::new();
    for listener in network.into_iter().chain([local]) {
        listeners.spawn(server.clone().accept(listener));
    }
    listeners.close();
    if let Err(err) = systemd::notify_ready() {
        tracing::warn!(error = %err, "cannot tell systemd that the daemon is ready: {err}");
    }
    stop.cancelled().await;
    listeners.wait().await;
    server.finish(REQUEST_PATIENCE).await;
    drop(scheduler.await);
    app.consoles().close();
    app.tasks().shutdown(TASK_PATIENCE).await;
    drop(metrics.await);
    remove_socket(&path);
    tracing::info!("stopped; containers run on");
    Ok(())
}

/// To start takes more memory than to serve, and so does a burst of long lists.
async fn be_thrifty() {
    loop {
        drop(tokio::task::spawn_blocking(heap::give_back).await);
        tokio::time::sleep(THRIFT).await;
    }
}

/// Containers come and go by hands that do not ask us: another node's, an administrator's.
async fn keep_units(app: App) {
    loop {
        tokio::time::sleep(UNITS).await;
        app.guests().keep_units().await;
    }
}

fn read_config(options: &Options, root: &Root) -> Result<Config, ConfigError> {
    match &options.config {
        Some(path) => Config::read(path, true),
        None => Config::read(&root.below("/etc/proxmox-lxcri/config.toml"), false),
    }
}

fn node_name(given: Option<NodeName>) -> Result<NodeName, StartError> {
    if let Some(node) = given {
        return Ok(node);
    }
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let short = host.split('.').next().unwrap_or_default();
    short.parse().map_err(|_| StartError::NodeName(host.into_owned()))
}

/// Held until the process ends, however it ends.
fn lock(root: &Root) -> Result<fs_err::File, StartError> {
    let run = root.run_dir();
    fs_err::create_dir_all(&run).map_err(StartError::Directory)?;
    let path = run.join("daemon.lock");
    let file = fs_err::File::create(&path).map_err(StartError::Directory)?;
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(StartError::Running(path)),
    }
}

/// What a daemon that was killed had not yet received whole.
fn sweep(root: &Root, node: &NodeName) {
    let Ok(config) = StorageConfig::read(root) else { return };
    for storage in config.iter().filter(|storage| storage.enabled() && storage.on_node(node)) {
        let Ok(dir) = config.dir(root, node, storage.id()) else { continue };
        for folder in dir.receives().iter().filter(|folder| folder.is_dir()) {
            if let Err(err) = Spool::sweep(folder) {
                tracing::warn!(error = %err, "cannot remove what was not received whole: {err}");
            }
        }
    }
}

fn announce(first: &FirstStart) {
    match first {
        FirstStart::Own { token: Some(path) } => {
            let path = path.display();
            tracing::info!("an API token of root@pam is in {path}, readable by root only");
        }
        FirstStart::Own { token: None } => {
            tracing::info!("the first start's API token was taken away")
        }
        FirstStart::Cluster => {
            tracing::info!("this is a PVE node: using the cluster's users and keys")
        }
    }
}

async fn network(
    options: &Options,
    app: &App,
    address: SocketAddr,
) -> Result<Listener, StartError> {
    let bound = if options.plain_http {
        Listener::plain(address).await
    } else {
        Listener::tls(address, tls_config(options, app)?).await
    };
    bound.map_err(|source| StartError::Listen { address, source })
}

fn tls_config(options: &Options, app: &App) -> Result<rustls::ServerConfig, TlsError> {
    if let (Some(cert), Some(key)) = (&options.tls_cert, &options.tls_key) {
        return tls::config(cert, key);
    }
    let (cert, key) = (app.root().tls_cert(app.node()), app.root().tls_key(app.node()));
    if tls::ensure(&cert, &key, app.node())? {
        tracing::info!("made a self-signed certificate: {}", cert.display());
    }
    tls::config(&cert, &key)
}

/// Cancelled by the first SIGTERM or SIGINT.
fn stop_on_signal() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
        tracing::info!("stopping");
    });
    Ok(stop)
}

/// What a daemon that ended properly leaves nothing of.
fn remove_socket(path: &Path) {
    if let Err(err) = fs_err::remove_file(path) {
        tracing::warn!(error = %err, "cannot remove the socket: {err}");
    }
}
