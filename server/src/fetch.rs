//! Getting files from other servers: templates by their URL. `builder` also makes the registries' client. The rules of names and storages are
//! `api::storage`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pve_integration::layout::Root;
use pve_integration::storage::Spool;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Response};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio_util::sync::CancellationToken;

use crate::checksum::{Checksum, ChecksumError};
use crate::tasks::TaskLog;

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Between two pieces of an answer.
const READ_PATIENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
const BUFFER: usize = 1 << 20;
/// A line of the task's log each time so many hundredths more have come, or so many bytes where the
/// length is not known.
const REPORT_PERCENT: u64 = 10;
const REPORT_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("download failed: {}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("download failed: the server answered '{0}'")]
    Status(reqwest::StatusCode),
    #[error("download failed: it ended after {got} of {announced} bytes")]
    Short { got: u64, announced: u64 },
    #[error("download failed: it needs {needed} bytes and there are {available}")]
    Space { needed: u64, available: u64 },
    #[error("got interrupted by signal")]
    Cancelled,
    #[error("refusing to override existing file '{}'", .0.display())]
    Exists(PathBuf),
    #[error("{0}, aborting")]
    OtherFile(#[source] ChecksumError),
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    #[error("unable to write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// With its causes: the outermost only says that something failed.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

pub(crate) fn client(root: &Root, verify: bool) -> Result<Client, FetchError> {
    let redirects = Policy::limited(MAX_REDIRECTS);
    Ok(builder(root)?.redirect(redirects).danger_accept_invalid_certs(!verify).build()?)
}

/// By datacenter.cfg's proxy, if it names one; never by one of the environment.
pub(crate) fn builder(root: &Root) -> Result<ClientBuilder, FetchError> {
    // Refused if there is one already, which then is the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let builder = Client::builder()
        .user_agent("Proxmox VE")
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(READ_PATIENCE)
        .no_proxy();
    match proxy(root) {
        Some(proxy) => Ok(builder.proxy(Proxy::all(proxy)?)),
        None => Ok(builder),
    }
}

fn proxy(root: &Root) -> Option<String> {
    let text = fs_err::read_to_string(root.datacenter_cfg()).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("http_proxy:"))?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A download, in the words of PVE's task log.
pub(crate) struct Download {
    pub(crate) url: String,
    pub(crate) target: PathBuf,
    pub(crate) checksum: Option<Checksum>,
    /// Bytes that may be taken.
    pub(crate) available: u64,
}

impl Download {
    /// The target is there whole, or as it was before.
    pub(crate) async fn run(
        &self,
        client: Result<Client, FetchError>,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), FetchError> {
        let target = self.target.display();
        log.line(format!("downloading {} to {target}", self.url));
        if self.is_there(log)? {
            return Ok(());
        }
        let fetched = cancel.run_until_cancelled(self.fetch(client?, log)).await;
        let spool = fetched.ok_or(FetchError::Cancelled)??;
        if let Some(checksum) = &self.checksum {
            log.line("calculating checksum...");
            io::Seek::rewind(&mut spool.file()).map_err(self.unwritable())?;
            checksum.verify(spool.file())?;
            log.line("OK, checksum verified");
        }
        spool.publish(&self.target).map_err(self.unwritable())?;
        log.line(format!("download of '{}' to '{target}' finished", self.url));
        Ok(())
    }

    fn is_there(&self, log: &TaskLog) -> Result<bool, FetchError> {
        if !self.target.is_file() {
            return Ok(false);
        }
        let Some(checksum) = &self.checksum else {
            return Err(FetchError::Exists(self.target.clone()));
        };
        log.line("calculating checksum of existing file...");
        let file = fs_err::File::open(&self.target).map_err(self.unwritable())?;
        checksum.verify(file).map_err(FetchError::OtherFile)?;
        log.line("OK, got correct file already, no need to download");
        Ok(true)
    }

    async fn fetch(&self, client: Client, log: &TaskLog) -> Result<Spool, FetchError> {
        let response = client.get(&self.url).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        let spool = Spool::within(folder).map_err(self.unwritable())?;
        self.save(response, &spool, log).await?;
        Ok(spool)
    }

    async fn save(
        &self,
        mut response: Response,
        spool: &Spool,
        log: &TaskLog,
    ) -> Result<(), FetchError> {
        let announced = response.content_length();
        let available = self.available;
        let fits = |needed: u64| match needed > available {
            true => Err(FetchError::Space { needed, available }),
            false => Ok(()),
        };
        fits(announced.unwrap_or(0))?;
        let file = spool.file().try_clone().map_err(self.unwritable())?;
        let mut file = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
        let step = announced.map_or(REPORT_BYTES, |all| (all / 100 * REPORT_PERCENT).max(1));
        let (mut got, mut report) = (0, step.max(REPORT_BYTES / 64));
        while let Some(piece) = response.chunk().await? {
            got += piece.len() as u64;
            fits(got)?;
            file.write_all(&piece).await.map_err(self.unwritable())?;
            if got >= report {
                match announced {
                    Some(all) => log.line(format!("{got} of {all} bytes ({}%)", got * 100 / all)),
                    None => log.line(format!("{got} bytes")),
                }
                report = got + step;
            }
        }
        file.flush().await.map_err(self.unwritable())?;
        match announced {
            Some(announced) if got != announced => Err(FetchError::Short { got, announced }),
            Some(_) | None => Ok(()),
        }
    }

    fn unwritable(&self) -> impl FnOnce(io::Error) -> FetchError {
        let path = self.target.clone();
        move |source| FetchError::Write { path, source }
    }
}
