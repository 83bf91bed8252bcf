//! `oci-registry-pull`: an image of a registry's becomes a template.

use std::io::{self, BufWriter};
use std::path::PathBuf;

use axum::extract::State;
use images::registry::{Registry, RegistryError};
use openapi::StorageId;
use openapi::answer::ErrorBody;
use pve_integration::layout::Root;
use pve_integration::storage::{ContentType, Spool, StorageConfig};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::files::normal;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};
use crate::fetch::{self, FetchError};
use crate::tasks::TaskLog;

const BUFFER: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Wanted {
    storage: StorageId,
    reference: String,
    filename: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("{}", fetch::chain(.0))]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Client(#[from] FetchError),
    #[error("refusing to override existing file '{0}'")]
    Exists(String),
    #[error("unable to write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("got interrupted by signal")]
    Cancelled,
}

/// Get an image by its reference.
#[utoipa::path(
    post, path = "/nodes/{node}/storage/{storage}/oci-registry-pull", tag = "storage",
    responses(
        (status = 200, description = "The task", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn pull(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<Wanted>,
) -> Result<Data<String>, ApiError> {
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &wanted.storage)?;
    if !dir.content().contains(&ContentType::Vztmpl) {
        let id = dir.id();
        return Err(ApiError::die(format_args!(
            "storage '{id}' is not configured for content-type 'vztmpl'"
        )));
    }
    let named = wanted.filename.as_deref().unwrap_or(&wanted.reference);
    let name = normal(named) + ".tar";
    let target = dir.folder(ContentType::Vztmpl).join(&name);
    let available = blocking(move || dir.activate().and_then(|()| dir.status())).await??.avail;
    if target.is_file() {
        return Err(ApiError::die(PullError::Exists(name)));
    }
    let pull = Pull {
        root: app.root().clone(),
        reference: wanted.reference,
        name: name.clone(),
        target,
        available,
    };
    let work = async move |log: TaskLog, cancel: CancellationToken| pull.run(&log, &cancel).await;
    let upid = app.tasks().spawn("ociregistrypull", &name, caller.auth(), work)?;
    Ok(Data::new(upid.to_string()))
}

struct Pull {
    root: Root,
    reference: String,
    name: String,
    target: PathBuf,
    /// Bytes that may be taken.
    available: u64,
}

impl Pull {
    /// The archive is there whole, or not at all. On the task's own thread, as writing blocks.
    async fn run(&self, log: &TaskLog, cancel: &CancellationToken) -> Result<(), PullError> {
        let fetched = cancel.run_until_cancelled(self.fetch(log)).await;
        let spool = fetched.ok_or(PullError::Cancelled)??;
        spool.publish_new(&self.target).map_err(|err| {
            if err.kind() == io::ErrorKind::AlreadyExists {
                return PullError::Exists(self.name.clone());
            }
            self.unwritable(err)
        })
    }

    async fn fetch(&self, log: &TaskLog) -> Result<Spool, PullError> {
        log.line(format!("Trying to pull docker://{}...", self.reference));
        let mut registry = Registry::open(&self.reference, fetch::builder(&self.root)?).await?;
        let folder = self.target.parent().unwrap_or(&self.target);
        let spool = Spool::within(folder).map_err(|err| self.unwritable(err))?;
        let out = BufWriter::with_capacity(BUFFER, spool.file());
        let pulled = registry.pull(out, self.available, &mut |line| log.line(line)).await?;
        if let Some(arch) = pulled.foreign {
            log.warn(format!("the image is made for another machine, {arch:?}"));
        }
        log.line(format!("Pulled manifest {}", pulled.digest));
        Ok(spool)
    }

    fn unwritable(&self, source: io::Error) -> PullError {
        PullError::Write { path: self.target.clone(), source }
    }
}
