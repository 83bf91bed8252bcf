//! `content`: what is on a storage, and empty images.

use axum::extract::State;
use openapi::answer::{ContentRow, ErrorBody};
use openapi::{StorageId, Vmid};
use pve_integration::storage::{Content, ContentType, StorageConfig, VolumeFormat};
use serde::Deserialize;

use super::volume::require_access;
use crate::api::blocking;
use crate::app::App;
use crate::envelope::Data;
use crate::error::ApiError;
use crate::extract::{Caller, LocalNode, Params};

#[derive(Deserialize)]
pub(super) struct WantedContent {
    storage: StorageId,
    content: Option<String>,
    vmid: Option<Vmid>,
}

/// What is on a storage, as far as the caller may use it.
#[utoipa::path(
    get, path = "/nodes/{node}/storage/{storage}/content", tag = "storage",
    responses(
        (status = 200, description = "One row a volume", body = Data<Vec<ContentRow>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn content(
    State(app): State<App>,
    caller: Caller,
    node: LocalNode,
    Params(wanted): Params<WantedContent>,
) -> Result<Data<Vec<ContentRow>>, ApiError> {
    let kinds: Vec<_> = match wanted.content.as_deref() {
        None => ContentType::ALL.into(),
        Some(word) => ContentType::from_word(word).into_iter().collect(),
    };
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &wanted.storage)?;
    let list =
        blocking(move || kinds.into_iter().flat_map(|kind| dir.list(kind)).collect::<Vec<_>>());
    let rows = list.await?.into_iter().filter(|content| {
        wanted.vmid.is_none_or(|vmid| content.vmid == Some(vmid))
            && require_access(&caller, &content.volid).is_ok()
    });
    Ok(Data::new(rows.map(content_row).collect()))
}

fn content_row(content: Content) -> ContentRow {
    let is_image = matches!(content.content, ContentType::Images | ContentType::Rootdir);
    let subtype = content.volid.name().strip_prefix("backup/vzdump-").and_then(|name| {
        let kind = name.split('-').next()?;
        ["lxc", "qemu", "openvz"].contains(&kind).then_some(kind)
    });
    let subtype = subtype.unwrap_or("unknown").to_owned();
    ContentRow {
        volid: content.volid,
        content: content.content.as_str().to_owned(),
        format: content.format.to_owned(),
        size: content.size,
        used: is_image.then_some(content.used),
        ctime: u64::try_from(content.ctime).ok(),
        vmid: content.vmid,
        parent: is_image.then_some(None),
        notes: content.notes,
        protected: content.protected.then_some(1),
        subtype: (content.content == ContentType::Backup).then_some(subtype),
    }
}

#[derive(Deserialize)]
pub(super) struct NewImage {
    storage: StorageId,
    vmid: Vmid,
    filename: String,
    size: String,
    format: Option<String>,
}

impl NewImage {
    /// Said by the parameter, by the name's ending, or `raw`.
    fn format(&self) -> Result<VolumeFormat, ApiError> {
        let known = [VolumeFormat::Raw, VolumeFormat::Qcow2, VolumeFormat::Vmdk];
        let ending = self.filename.rsplit_once('.').map(|(_, ending)| ending);
        let named = known.into_iter().find(|format| Some(format.as_str()) == ending);
        let all = known.into_iter().chain([VolumeFormat::Subvol]);
        let wanted = self.format.as_deref();
        let wanted = wanted.and_then(|word| all.into_iter().find(|known| known.as_str() == word));
        match (wanted, named) {
            (Some(wanted), Some(named)) if wanted != named => {
                let (wanted, named) = (wanted.as_str(), named.as_str());
                let message = format_args!("different storage formats ({wanted} != {named})");
                Err(ApiError::param("format", message))
            }
            (Some(format), _) | (None, Some(format)) => Ok(format),
            (None, None) => Ok(VolumeFormat::Raw),
        }
    }

    /// Kilobytes, unless another unit is named.
    fn bytes(&self) -> Result<u64, ApiError> {
        let (digits, shift) = match self.size.as_bytes().last() {
            Some(b'M') => (&self.size[..self.size.len() - 1], 20),
            Some(b'G') => (&self.size[..self.size.len() - 1], 30),
            Some(_) | None => (self.size.as_str(), 10),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
        let message = format_args!("unable to parse size '{}'", self.size);
        bytes.ok_or_else(|| ApiError::param("size", message))
    }
}

/// Make an empty image under a name of one's own.
#[utoipa::path(
    post, path = "/nodes/{node}/storage/{storage}/content", tag = "storage",
    responses(
        (status = 200, description = "The volume's id", body = Data<String>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
pub(super) async fn allocate_volume(
    State(app): State<App>,
    node: LocalNode,
    Params(image): Params<NewImage>,
) -> Result<Data<String>, ApiError> {
    let (bytes, format) = (image.bytes()?, image.format()?);
    let dir = StorageConfig::read(app.root())?.dir(app.root(), node.name(), &image.storage)?;
    let made = blocking(move || {
        dir.activate()?;
        dir.allocate_named(image.vmid, &image.filename, format, bytes)
    });
    Ok(Data::new(made.await??.to_string()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn image(size: &str, filename: &str, format: Option<&str>) -> NewImage {
        NewImage {
            storage: "local".parse().unwrap(),
            vmid: "100".parse().unwrap(),
            filename: filename.to_owned(),
            size: size.to_owned(),
            format: format.map(str::to_owned),
        }
    }

    #[rstest]
    #[case("4", 4096)]
    #[case("2M", 2 << 20)]
    #[case("3G", 3 << 30)]
    fn reads_a_size(#[case] size: &str, #[case] bytes: u64) {
        assert_eq!(image(size, "x.raw", None).bytes(), Ok(bytes));
    }

    #[test]
    fn refuses_a_size_beyond_all_disks() {
        assert!(image("99999999999G", "x.raw", None).bytes().is_err());
    }

    #[rstest]
    #[case("x.raw", None, "raw")]
    #[case("x.qcow2", None, "qcow2")]
    #[case("x", None, "raw")]
    #[case("x.subvol", Some("subvol"), "subvol")]
    fn takes_the_format_of(#[case] name: &str, #[case] word: Option<&str>, #[case] is: &str) {
        assert_eq!(image("1", name, word).format().map(VolumeFormat::as_str), Ok(is));
    }

    #[test]
    fn a_name_and_a_format_must_agree() {
        assert!(image("1", "x.raw", Some("qcow2")).format().is_err());
    }
}
