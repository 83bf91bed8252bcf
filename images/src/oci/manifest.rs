//! What an image consists of. Docker's documents become OCI's, as an OCI archive has only those; an
//! OCI document is kept byte by byte, because its digest is its name.

use std::collections::BTreeSet;

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::printable;

pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// A config is read whole as well.
pub(crate) const MAX_CONFIG: u64 = 4 << 20;
/// Overlay filesystems take 500 at most, Docker 127.
const MAX_LAYERS: usize = 1000;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// What a manifest's address led to.
#[derive(Debug)]
pub(crate) enum Document {
    /// One manifest a platform.
    Index(Vec<Descriptor>),
    Image(Manifest),
}

/// Of one image.
#[derive(Debug, PartialEq)]
pub(crate) struct Manifest {
    /// As it will be in an archive.
    pub(crate) bytes: Vec<u8>,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    /// 64 hex digits of a SHA-256.
    pub(crate) sha256: String,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn of(descriptor: &Descriptor) -> Result<Self, DocumentError> {
        let sha256 = descriptor.as_digest_sha256().ok_or_else(|| {
            let digest = descriptor.digest().to_string();
            unsupported(format_args!("digest {} is no sha256", printable(digest.as_bytes())))
        })?;
        Ok(Self { sha256: sha256.to_owned(), size: descriptor.size() })
    }

    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }
}

/// Why no image can be made of a document. What it says is escaped and cut.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the image's manifest is not supported: {0}")]
    Manifest(String),
    #[error("the image is not made for {0}, only for {1}")]
    Platform(String, String),
}

fn unsupported(why: impl std::fmt::Display) -> DocumentError {
    DocumentError::Manifest(why.to_string())
}

/// Which of the two it is may be read in two ways only if somebody wants that.
#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let invalid = |err: serde_json::Error| unsupported(err);
        let probe: Probe = serde_json::from_slice(bytes).map_err(invalid)?;
        if probe.schema_version != 2 {
            let version = probe.schema_version;
            return Err(unsupported(format_args!("it has schema version {version}, not 2")));
        }
        match (probe.manifests, probe.layers) {
            (Some(_), None) => {
                let index: ImageIndex = serde_json::from_slice(bytes).map_err(invalid)?;
                Ok(Self::Index(index.manifests().clone()))
            }
            (None, Some(_)) => {
                let manifest = serde_json::from_slice(bytes).map_err(invalid)?;
                let docker = probe.media_type.as_deref() == Some(DOCKER_MANIFEST);
                Ok(Self::Image(image(bytes, manifest, docker)?))
            }
            (Some(_), Some(_)) => Err(unsupported("it is an index and an image at once")),
            (None, None) => Err(unsupported("it is neither an index nor an image")),
        }
    }
}

fn image(
    bytes: &[u8],
    mut manifest: ImageManifest,
    docker: bool,
) -> Result<Manifest, DocumentError> {
    let count = manifest.layers().len();
    if count > MAX_LAYERS {
        return Err(unsupported(format_args!("it has {count} layers")));
    }
    let bytes = if docker {
        to_oci(&mut manifest);
        serde_json::to_vec(&manifest).map_err(unsupported)?
    } else {
        bytes.to_vec()
    };
    require(manifest.config(), &[MediaType::ImageConfig])?;
    let kinds = [MediaType::ImageLayer, MediaType::ImageLayerGzip, MediaType::ImageLayerZstd];
    let layers = manifest.layers().iter().map(|layer| {
        require(layer, &kinds)?;
        Blob::of(layer)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Manifest { bytes, config: Blob::of(manifest.config())?, layers })
}

fn require(descriptor: &Descriptor, kinds: &[MediaType]) -> Result<(), DocumentError> {
    if kinds.contains(descriptor.media_type()) {
        return Ok(());
    }
    let kind = printable(descriptor.media_type().as_ref().as_bytes());
    Err(unsupported(format_args!("it refers to a blob of type '{kind}'")))
}

fn to_oci(manifest: &mut ImageManifest) {
    manifest.set_media_type(Some(MediaType::ImageManifest));
    let mut config = manifest.config().clone();
    rename(&mut config);
    manifest.set_config(config);
    manifest.layers_mut().iter_mut().for_each(rename);
}

fn rename(descriptor: &mut Descriptor) {
    let kind = match descriptor.media_type().as_ref() {
        DOCKER_CONFIG => MediaType::ImageConfig,
        DOCKER_LAYER => MediaType::ImageLayer,
        DOCKER_LAYER_GZIP => MediaType::ImageLayerGzip,
        DOCKER_LAYER_ZSTD => MediaType::ImageLayerZstd,
        _ => return,
    };
    descriptor.set_media_type(kind);
}

/// The index's image for a machine.
pub(crate) fn choose(index: &[Descriptor], arch: &Arch) -> Result<Blob, DocumentError> {
    let on_linux = index.iter().filter_map(|descriptor| {
        let platform = descriptor.platform().as_ref()?;
        (*platform.os() == Os::Linux).then_some((descriptor, platform))
    });
    let fitting: Vec<_> =
        on_linux.clone().filter(|(_, platform)| platform.architecture() == arch).collect();
    // Of ARM's the newest that 32-bit machines with containers have; elsewhere the plain one.
    let wanted = if *arch == Arch::ARM { Some("v7") } else { None };
    let exact = fitting.iter().find(|(_, platform)| platform.variant().as_deref() == wanted);
    match exact.or(fitting.first()) {
        Some((descriptor, _)) => Blob::of(descriptor),
        None => {
            let all: BTreeSet<_> =
                on_linux.map(|(_, platform)| platform.architecture().to_string()).collect();
            let all: Vec<_> = all.iter().take(20).map(|name| printable(name.as_bytes())).collect();
            Err(DocumentError::Platform(format!("linux/{arch}"), all.join(", ")))
        }
    }
}

/// By Go's names, which images use.
pub(crate) fn host_arch() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        "x86" => Arch::i386,
        "arm" => Arch::ARM,
        "powerpc64" => Arch::PowerPC64le,
        "loongarch64" => Arch::LoongArch64,
        other => Arch::from(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn hex(digit: char) -> String {
        std::iter::repeat_n(digit, 64).collect()
    }

    fn manifest(config: &str, layer: &str) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": config, "digest": format!("sha256:{}", hex('a')), "size": 1},
            "layers": [{"mediaType": layer, "digest": format!("sha256:{}", hex('b')), "size": 2}],
        })
    }

    fn parse(value: &Value) -> Result<Document, String> {
        Document::parse(value.to_string().as_bytes()).map_err(|err| err.to_string())
    }

    #[test]
    fn makes_an_oci_manifest_of_dockers() {
        let Document::Image(image) = parse(&manifest(DOCKER_CONFIG, DOCKER_LAYER_GZIP)).unwrap()
        else {
            panic!("an image")
        };

        let written: Value = serde_json::from_slice(&image.bytes).unwrap();
        let kinds = [&written["mediaType"], &written["config"]["mediaType"]];
        assert_eq!(kinds, [MediaType::ImageManifest.as_ref(), MediaType::ImageConfig.as_ref()]);
        assert_eq!(written["layers"][0]["mediaType"], MediaType::ImageLayerGzip.as_ref());
        assert_eq!(image.layers, [Blob { sha256: hex('b'), size: 2 }]);
    }

    #[test]
    fn keeps_an_oci_manifest_byte_by_byte() {
        let (config, layer) = (MediaType::ImageConfig, MediaType::ImageLayer);
        let mut value = manifest(config.as_ref(), layer.as_ref());
        value["mediaType"] = MediaType::ImageManifest.as_ref().into();
        value["unknown"] = json!({"z": 1, "a": 2});
        let text = serde_json::to_string_pretty(&value).unwrap();

        let Ok(Document::Image(image)) = Document::parse(text.as_bytes()) else {
            panic!("an image")
        };
        assert_eq!(image.bytes, text.as_bytes());
    }

    #[rstest]
    #[case::schema_1(json!({"schemaVersion": 1, "layers": []}), "schema version 1")]
    #[case::both(json!({"schemaVersion": 2, "layers": [], "manifests": []}), "at once")]
    #[case::neither(json!({"schemaVersion": 2}), "neither")]
    #[case::foreign(
        manifest(DOCKER_CONFIG, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        "rootfs.foreign"
    )]
    #[case::artifact(manifest("application/vnd.cncf.helm.config.v1+json", DOCKER_LAYER), "helm")]
    fn refuses(#[case] value: Value, #[case] why: &str) {
        let err = parse(&value).unwrap_err();
        assert!(err.contains(why), "{err}");
    }

    #[rstest]
    #[case::path("sha256:../../../../etc/passwd")]
    #[case::short("sha256:abc")]
    #[case::sha512("sha512:x")]
    fn takes_no_other_digest(#[case] digest: &str) {
        let mut value = manifest(DOCKER_CONFIG, DOCKER_LAYER);
        value["layers"][0]["digest"] = digest.into();
        assert!(parse(&value).is_err());
    }

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Vec<Descriptor> {
        let manifests = platforms.iter().zip('a'..).map(|((os, arch, variant), digit)| {
            let mut platform = json!({"os": os, "architecture": arch});
            if let Some(variant) = variant {
                platform["variant"] = (*variant).into();
            }
            let digest = format!("sha256:{}", hex(digit));
            let kind = MediaType::ImageManifest.as_ref();
            json!({"mediaType": kind, "digest": digest, "size": 9, "platform": platform})
        });
        let manifests: Vec<_> = manifests.collect();
        serde_json::from_value(json!(manifests)).unwrap()
    }

    #[test]
    fn chooses_the_image_for_a_machine() {
        let index = index(&[
            ("windows", "amd64", None),
            ("unknown", "unknown", None),
            ("linux", "arm", Some("v6")),
            ("linux", "arm", Some("v7")),
            ("linux", "amd64", Some("v3")),
            ("linux", "amd64", None),
        ]);
        let chosen = |arch| choose(&index, &arch).map(|blob| blob.sha256);

        assert_eq!(chosen(Arch::Amd64).unwrap(), hex('f'));
        assert_eq!(chosen(Arch::ARM).unwrap(), hex('d'));
        let err = chosen(Arch::RISCV64).unwrap_err().to_string();
        assert_eq!(err, "the image is not made for linux/riscv64, only for amd64, arm");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Document::parse(&bytes));
        }
    }
}
