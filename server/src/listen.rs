//! Who may connect and how: TLS, plain HTTP and the unix socket, each with the same limits. Ends
//! where a request has been read; what it means is the router's.

mod patience;
mod seats;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use patience::Patient;
use seats::Seats;

/// Header lines as PVE allows; bytes of the request line and 8 KiB of headers. hyper answers 431 to
/// more; PVE says nothing and hangs up.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// For a request's head, and between two requests of one connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Beyond these a client waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 500;
/// How long to leave the kernel alone when it has no descriptor or memory for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Network(SocketAddr),
    /// The user at the other end of the unix socket, as the kernel says.
    Local {
        uid: u32,
    },
}

impl Peer {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Network(address) => Some(address),
            Self::Local { .. } => None,
        }
    }

    /// Root on this machine may do what root@pam may.
    pub(crate) fn is_local_root(self) -> bool {
        self == Self::Local { uid: 0 }
    }
}

/// A bound socket and how to speak on it.
pub(crate) enum Listener {
    Plain(TcpListener),
    Tls(TcpListener, TlsAcceptor),
    Unix(UnixListener),
}

enum Stream {
    Plain(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
}

impl Listener {
    pub(crate) async fn plain(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::Plain(TcpListener::bind(address).await?))
    }

    pub(crate) async fn tls(address: SocketAddr, config: ServerConfig) -> io::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self::Tls(TcpListener::bind(address).await?, acceptor))
    }

    /// Nobody but root may open it, from the moment it has its name. Needs the daemon's lock: what
    /// lies there already is of a daemon that is gone.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        let new = beside(path);
        match fs_err::remove_file(&new) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&new)?;
        fs_err::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        fs_err::rename(&new, path)?;
        Ok(Self::Unix(listener))
    }

    /// Where it listens in fact: port 0 asks the kernel for a free one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Plain(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Plain(stream), Peer::Network(address)))
            }
            Self::Tls(listener, acceptor) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tls(stream, acceptor.clone()), Peer::Network(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer::Local { uid }))
            }
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Serves connections until it is told to stop.
#[derive(Clone)]
pub(crate) struct Server {
    router: Router,
    places: Arc<Semaphore>,
    seats: Seats,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    pub(crate) fn new(router: Router, stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        Self { router, places, seats: Seats::default(), stop, connections }
    }

    /// Accepts until `stop`. An error of the kernel's is logged and waited out: the daemon must be
    /// there when descriptors are free again.
    pub(crate) async fn accept(self, listener: Listener) {
        let stop = self.stop.clone();
        let forever = async {
            loop {
                let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let Some(seat) = self.seats.take(peer) else {
                            tracing::debug!(?peer, "hung up on a client with too many connections");
                            continue;
                        };
                        let server = self.clone();
                        self.connections.spawn(async move {
                            server.talk(stream, peer).await;
                            drop((seat, place));
                        });
                    }
                    Err(err) if is_the_clients(&err) => {
                        tracing::debug!(error = %err, "a client left before it was accepted: {err}");
                    }
                    Err(err) => {
                        tracing::warn!(error = %err, "cannot accept connections: {err}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(forever).await;
    }

    /// Waits until every connection has finished the request it is in.
    pub(crate) async fn finish(&self, patience: Duration) {
        self.connections.close();
        if tokio::time::timeout(patience, self.connections.wait()).await.is_err() {
            tracing::warn!("gave up on {} connections", self.connections.len());
        }
    }

    async fn talk(self, stream: Stream, peer: Peer) {
        match stream {
            Stream::Unix(stream) => self.serve(stream, peer).await,
            Stream::Plain(stream) => {
                without_delay(&stream);
                self.serve(stream, peer).await;
            }
            Stream::Tls(stream, acceptor) => {
                without_delay(&stream);
                let handshake = acceptor.accept(stream);
                match tokio::time::timeout(HANDSHAKE_PATIENCE, handshake).await {
                    Ok(Ok(stream)) => self.serve(stream, peer).await,
                    Ok(Err(err)) => tracing::debug!(?peer, error = %err, "no TLS: {err}"),
                    Err(_) => tracing::debug!(?peer, "no TLS: the client said nothing"),
                }
            }
        }
    }

    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.router.map_request(move |request: hyper::Request<_>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .title_case_headers(true)
                .max_headers(MAX_HEADERS)
                .max_header_size(MAX_HEADER_BYTES)
                .serve_connection(
                    TokioIo::new(Patient::new(stream)),
                    TowerToHyperService::new(service),
                )
                .with_upgrades()
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(err) = ended {
            tracing::debug!(?peer, error = %err, "connection ended: {err}");
        }
    }
}

/// Answers are small and whole: waiting to fill a packet only costs time.
fn without_delay(stream: &TcpStream) {
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(error = %err, "cannot turn Nagle's algorithm off: {err}");
    }
}

fn is_the_clients(err: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};

    [ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected].contains(&err.kind())
}
