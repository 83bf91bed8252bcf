//! Building OCI archives, honest ones and others, and unpacking them.

use std::io::Cursor;
use std::os::fd::AsFd;

use images::oci::{self, ImageError, Layout};
use images::{Limits, Summary};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build::{Tar, Target};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

pub(crate) fn hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What an archive is made of; a test changes what it wants to be wrong.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    pub(crate) index: Value,
}

impl Archive {
    pub(crate) fn blob(&mut self, kind: &str, content: &[u8]) -> Value {
        let digest = hex(content);
        self.blobs.push((digest.clone(), content.to_vec()));
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()})
    }

    /// The descriptor of an image for `arch`: layers as they lie in the archive, and unpacked.
    pub(crate) fn image(&mut self, arch: &str, layers: &[(Vec<u8>, Vec<u8>)]) -> Value {
        let diff_ids: Vec<_> =
            layers.iter().map(|(_, plain)| format!("sha256:{}", hex(plain))).collect();
        let config = json!({
            "architecture": arch, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(packed, _)| self.blob(LAYER, packed)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    pub(crate) fn of_layers(layers: &[Vec<u8>]) -> Self {
        let layers: Vec<_> = layers.iter().map(|layer| (layer.clone(), layer.clone())).collect();
        Self::of_packed(&layers)
    }

    pub(crate) fn of_packed(layers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let mut archive = Self::default();
        let image = archive.image(host(), layers);
        archive.index = json!({"schemaVersion": 2, "manifests": [image]});
        archive
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tar = Tar::default().folder("blobs/").folder("blobs/sha256/");
        for (name, content) in &self.blobs {
            let path = format!("blobs/sha256/{name}");
            let kind = tar::EntryType::Regular;
            let header = crate::build::header(kind, &path, "", content.len() as u64);
            tar = tar.data(&header, content);
        }
        tar.file("index.json", &self.index.to_string())
            .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .end()
    }
}

impl Target {
    pub(crate) fn image(&self, archive: &Archive) -> Result<Summary, ImageError> {
        self.image_within(&archive.bytes(), &Limits::default())
    }

    pub(crate) fn image_within(
        &self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Summary, ImageError> {
        let result = open(bytes).and_then(|mut layout| {
            let image = layout.image(None)?;
            let root = fs_err::File::open(self.path("")).unwrap();
            oci::unpack(root.as_fd(), &mut layout, &image, limits, &mut |_| {})
        });
        self.check_outside();
        result
    }
}

pub(crate) fn open(bytes: &[u8]) -> Result<Layout<Cursor<&[u8]>>, ImageError> {
    Layout::open(Cursor::new(bytes)).map(|layout| layout.expect("a layout in a tar file"))
}
