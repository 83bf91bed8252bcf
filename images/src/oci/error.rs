//! Why no root filesystem was made of an image. Where PVE has words for it (`proxmox-oci`), they are
//! these; what an archive says is escaped and cut. A message does not repeat its source.

use std::io;

use super::manifest::DocumentError;
use crate::UnpackError;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "the archive is one of 'docker save', which is not supported; \
         'skopeo copy docker-archive:FILE oci-archive:FILE' makes one that is"
    )]
    Docker,
    #[error("the archive is no OCI image")]
    NoImage,
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("Error while parsing OCI image: {0}")]
    Document(#[from] DocumentError),
    #[error("Error while parsing OCI image: {0}")]
    Index(&'static str),
    #[error(
        "Error while parsing OCI image: Unsupported CPU architecture: it is for {0}, not for {1}"
    )]
    Architecture(String, String),
    #[error("Error while parsing OCI image: its config is not valid")]
    Config(#[source] serde_json::Error),
    #[error(
        "Error while parsing OCI image: its manifest has {layers} layers, its config {diff_ids}"
    )]
    Count { layers: usize, diff_ids: usize },
    #[error("Error while parsing OCI image: blob {0} is missing")]
    Missing(String),
    #[error("Error while parsing OCI image: blob {digest} has {found} bytes, not {announced}")]
    Size { digest: String, found: u64, announced: u64 },
    #[error("Error while parsing OCI image: blob {digest} has {size} bytes, too many for {what}")]
    Large { digest: String, size: u64, what: &'static str },
    #[error(
        "Error while parsing OCI image: blob {digest} is damaged: it has the digest sha256:{got}"
    )]
    Digest { digest: String, got: String },
    #[error(
        "Error while extracting OCI image: layer {digest} unpacks to sha256:{got}, \
         which is not what rootfs.diff_ids says"
    )]
    DiffId { digest: String, got: String },
    #[error("Error while extracting OCI image: layer {digest}")]
    Layer { digest: String, source: UnpackError },
    #[error("Error while extracting OCI image")]
    Finish(#[source] UnpackError),
}
