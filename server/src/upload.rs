//! Receiving a file: `multipart/form-data` as browsers and PVE's clients send it, streamed to disk
//! as it comes. Which file of which storage it becomes is for `api::storage::upload`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use multer::{Constraints, Field, Multipart, SizeLimit};
use openapi::check::Raw;
use openapi::schema::Method;
use pve_integration::storage::{DirStorage, Spool};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::body::RawParams;
use crate::error::ApiError;

/// Between two pieces of a body.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of everything but the file.
const MAX_FIELD: u64 = 1024;
const BUFFER: usize = 1 << 20;

/// A received file, for the one handler that takes it.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Mutex<Option<Received>>>);

pub(crate) struct Received {
    pub(crate) spool: Spool,
    pub(crate) size: u64,
}

impl Upload {
    pub(crate) fn take(&self) -> Option<Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// PVE's one method that takes a file. Pages send it without a CSRF token, which a plain form cannot
/// carry.
pub(crate) fn is_upload(method: &Method) -> bool {
    method.method == "POST" && method.path == "/nodes/{node}/storage/{storage}/upload"
}

/// The boundary between the parts, if the body has parts. Without a length it is not read as such.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_LENGTH)?;
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(kind).ok()
}

/// Reads the whole body. The parameters come first, then the file, whose part is called `filename`;
/// behind it there is nothing.
pub(crate) async fn receive(
    storage: &DirStorage,
    boundary: String,
    (uri, headers): (&Uri, &HeaderMap),
    body: Body,
) -> Result<(RawParams, Upload), ApiError> {
    let names_a_file = |query: &str| query.split('&').any(|pair| pair.starts_with("tmpfilename="));
    if uri.query().is_some_and(names_a_file) {
        let message = "'tmpfilename' query parameter is not allowed for file uploads";
        return Err(ApiError::die(message));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    storage.activate()?;
    if length > storage.status()?.avail {
        let id = storage.id();
        return Err(ApiError::die(format_args!("not enough space on storage '{id}'")));
    }
    let limits = ["content", "checksum", "checksum-algorithm"]
        .into_iter()
        .fold(SizeLimit::new(), |limits, name| limits.for_field(name, MAX_FIELD));
    let constraints = Constraints::new().size_limit(limits);
    let parts = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    Parts { storage, parts, params: Vec::new() }.read().await
}

struct Parts<'a> {
    storage: &'a DirStorage,
    parts: Multipart<'static>,
    params: RawParams,
}

impl Parts<'_> {
    async fn read(mut self) -> Result<(RawParams, Upload), ApiError> {
        loop {
            let part = patient(self.parts.next_field()).await?;
            let Some(part) = part else { return Err(failed("it has no file")) };
            let name = part.name().unwrap_or_default().to_owned();
            match part.file_name().map(|name| name.trim().to_owned()) {
                Some(_) if name != "filename" => {
                    return Err(ApiError::die(format_args!(
                        "wrong field name '{name}' for file upload, expected 'filename'"
                    )));
                }
                Some(file) => {
                    self.params.push((name, Raw::Text(file)));
                    let received = save(self.storage, part).await?;
                    if patient(self.parts.next_field()).await?.is_some() {
                        return Err(failed("the file has to come last"));
                    }
                    let upload = Upload(Arc::new(Mutex::new(Some(received))));
                    return Ok((self.params, upload));
                }
                None if ["content", "checksum", "checksum-algorithm"].contains(&name.as_str()) => {
                    let text = patient(part.text()).await?;
                    self.params.push((name, Raw::Text(text.trim().to_owned())));
                }
                None => return Err(failed(format_args!("unexpected field '{name}'"))),
            }
        }
    }
}

async fn save(storage: &DirStorage, mut part: Field<'static>) -> Result<Received, ApiError> {
    let spool = Spool::within(storage.path()).map_err(unwritable)?;
    let file = spool.file().try_clone().map_err(unwritable)?;
    let mut file = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
    let mut size = 0;
    while let Some(piece) = patient(part.chunk()).await? {
        size += piece.len() as u64;
        file.write_all(&piece).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)?;
    Ok(Received { spool, size })
}

async fn patient<T>(step: impl Future<Output = multer::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(failed("the body did not arrive")),
    }
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    ApiError::die(format_args!("upload failed - {why}"))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives the error away")]
fn unwritable(err: io::Error) -> ApiError {
    ApiError::die(format_args!("write to temporary file failed - {err}"))
}
