//! Archives of images that are damaged, for others, or made to hurt.

use images::Limits;
use images::oci::{ImageError, Layout};
use rstest::rstest;
use serde_json::json;

use crate::build::{Tar, Target, gzip, header};
use crate::image::{Archive, INDEX, LAYER, MANIFEST, hex, host, open};

fn chain(err: &ImageError) -> String {
    let causes = std::iter::successors(std::error::Error::source(err), |err| err.source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn plain() -> Archive {
    Archive::of_layers(&[Tar::default().file("f", "x").end()])
}

/// The layer's place among the blobs; config and manifest are around it.
const LAYER_AT: usize = 1;

fn spoil(archive: &mut Archive, fault: &str) {
    match fault {
        "layer" => archive.blobs[LAYER_AT].1[513] ^= 1,
        "layer's end" => drop(archive.blobs[LAYER_AT].1.pop()),
        "config" => archive.blobs[0].1[5] ^= 1,
        "manifest" => archive.blobs[2].1[5] ^= 1,
        "no layer" => drop(archive.blobs.remove(LAYER_AT)),
        "no config" => drop(archive.blobs.remove(0)),
        "no manifest" => drop(archive.blobs.remove(2)),
        "size" => archive.index["manifests"][0]["size"] = 1.into(),
        "digest" => {
            archive.index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd".into();
        }
        "arch" => {
            let image = archive.image("s390x", &[]);
            archive.index["manifests"] = json!([image]);
        }
        "platform" => {
            archive.index["manifests"][0]["platform"] =
                json!({"os": "linux", "architecture": "s390x"});
        }
        "windows" => {
            archive.index["manifests"][0]["platform"] =
                json!({"os": "windows", "architecture": host()});
        }
        "nothing" => archive.index["manifests"] = json!([]),
        "diff_id" => {
            let layer = Tar::default().file("f", "x").end();
            let image = archive.image(host(), &[(layer.clone(), [layer, vec![0; 512]].concat())]);
            archive.index["manifests"] = json!([image]);
        }
        "index" => {
            let config = archive.blob("application/vnd.oci.image.config.v1+json", b"{}");
            archive.index = json!({"schemaVersion": 2, "config": config, "layers": []});
        }
        "kind" => {
            let layer = archive.blob("text/plain", b"x");
            let config = archive.blob("application/vnd.oci.image.config.v1+json", b"{}");
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            });
            let manifest = archive.blob(MANIFEST, manifest.to_string().as_bytes());
            archive.index["manifests"] = json!([manifest]);
        }
        "count" => {
            let config = json!({
                "architecture": host(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            });
            let config = config.to_string();
            let config =
                archive.blob("application/vnd.oci.image.config.v1+json", config.as_bytes());
            let layer = archive.blob(LAYER, &Tar::default().end());
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            });
            let manifest = archive.blob(MANIFEST, manifest.to_string().as_bytes());
            archive.index["manifests"] = json!([manifest]);
        }
        other => panic!("{other}"),
    }
}

#[rstest]
#[case("layer", "is damaged: it has the digest sha256:")]
#[case("layer's end", "bytes, not ")]
#[case("config", "is damaged")]
#[case("manifest", "is damaged")]
#[case("no layer", "is missing")]
#[case("no config", "is missing")]
#[case("no manifest", "is missing")]
#[case("size", "bytes, not 1")]
#[case("digest", "manifest is not supported")]
#[case("arch", "Unsupported CPU architecture: it is for linux/s390x, not for linux/")]
#[case("platform", "Unsupported CPU architecture: it is for linux/s390x, not for linux/")]
#[case("windows", "Unsupported CPU architecture: it is for windows/")]
#[case("nothing", "index.json names no image")]
#[case("diff_id", "is not what rootfs.diff_ids says")]
#[case("index", "index.json is no index")]
#[case("kind", "blob of type 'text/plain'")]
#[case("count", "its manifest has 1 layers, its config 0")]
fn is_found_out(#[case] fault: &str, #[case] complaint: &str) {
    let (target, mut archive) = (Target::new(), plain());
    spoil(&mut archive, fault);

    let err = target.image(&archive).unwrap_err();

    let text = chain(&err);
    assert!(text.contains(complaint), "{text}");
    assert!(!text.contains('\n'));
    if fault != "diff_id" {
        assert!(!target.path("f").exists(), "it was unpacked before it was checked");
    }
}

#[test]
fn a_layer_is_checked_before_anything_of_it_is_written() {
    let target = Target::new();
    let mut archive = Archive::of_layers(&[
        Tar::default().file("a", "").end(),
        Tar::default().file("b", "").end(),
    ]);
    archive.blobs[2].1[0] = b'q';
    let err = target.image(&archive).unwrap_err();
    assert!(matches!(err, ImageError::Digest { .. }), "{err}");
    assert!(target.path("a").exists() && !target.path("q").exists());
}

#[test]
fn the_image_for_this_machine_is_found_in_an_index_within_an_index() {
    let target = Target::new();
    let mut archive = Archive::default();
    let layer = |name: &str| {
        vec![(Tar::default().file(name, "").end(), Tar::default().file(name, "").end())]
    };
    let mut other = archive.image("s390x", &layer("other"));
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut own = archive.image(host(), &layer("own"));
    own["platform"] = json!({"os": "linux", "architecture": host()});
    let signature = archive.blob("application/vnd.example", b"{}");
    let inner =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [signature, other, own]});
    let inner = archive.blob(INDEX, inner.to_string().as_bytes());
    archive.index = json!({"schemaVersion": 2, "manifests": [inner]});

    target.image(&archive).unwrap();

    assert!(target.path("own").exists() && !target.path("other").exists());
    let bytes = archive.bytes();
    let asked = open(&bytes).unwrap().image(Some("riscv64")).unwrap_err();
    assert!(asked.to_string().ends_with("not for linux/riscv64"), "{asked}");
}

#[test]
fn an_image_that_says_nothing_in_the_index_is_looked_into() {
    let target = Target::new();
    let mut archive = plain();
    let foreign = archive.image("s390x", &[]);
    let own = archive.index["manifests"][0].clone();
    archive.index["manifests"] = json!([foreign, own]);
    target.image(&archive).unwrap();
    assert_eq!(target.read("f"), "x");
}

#[test]
fn an_index_of_itself_comes_to_an_end() {
    // No index can hold its own digest; one that names another often is the nearest thing.
    let mut archive = plain();
    let leaf = archive.blob(INDEX, br#"{"schemaVersion":2,"manifests":[]}"#);
    let many: Vec<_> = std::iter::repeat_n(leaf, 200).collect();
    let wide = json!({"schemaVersion": 2, "manifests": many});
    let wide = archive.blob(INDEX, wide.to_string().as_bytes());
    archive.index = json!({"schemaVersion": 2, "manifests": [wide]});
    let err = Target::new().image(&archive).unwrap_err();
    assert!(err.to_string().contains("too many indexes"), "{err}");
}

#[rstest]
#[case::a_root_filesystem(Tar::default().file("etc/passwd", "x").end())]
#[case::compressed(gzip(&plain().bytes()))]
#[case::no_index(Tar::default().file("oci-layout", "{}").file("blobs/sha256/x", "").end())]
#[case::text(b"hello".to_vec())]
#[case::cut(plain().bytes()[..2000].to_vec())]
fn is_no_layout(#[case] bytes: Vec<u8>) {
    assert!(Layout::open(std::io::Cursor::new(&bytes)).unwrap().is_none());
}

#[test]
fn what_docker_saves_is_named() {
    let list = r#"[{"Config":"a.json","RepoTags":["x:1"],"Layers":["a/layer.tar"]}]"#;
    let bytes = Tar::default().file("a.json", "{}").file("manifest.json", list).end();
    let err = Layout::open(std::io::Cursor::new(&bytes)).unwrap_err();
    assert!(err.to_string().contains("skopeo copy docker-archive:"), "{err}");
}

#[test]
fn a_layout_with_extended_headers_is_read() {
    let archive = plain();
    let mut tar = Tar::default();
    for (name, content) in &archive.blobs {
        let path = format!("./blobs/sha256/{name}");
        let size = content.len().to_string();
        tar = tar.pax(&[("path", path.as_bytes()), ("size", size.as_bytes())]);
        tar = tar.data(&header(tar::EntryType::Regular, "x", "", 0), content);
    }
    let bytes =
        tar.file("./index.json", &archive.index.to_string()).file("./oci-layout", "{}").end();
    let target = Target::new();
    target.image_within(&bytes, &Limits::default()).unwrap();
    assert_eq!(target.read("f"), "x");
}

#[rstest]
#[case::entries(Limits { entries: 3, ..Limits::default() }, "more than 3 entries")]
#[case::bytes(Limits { bytes: 3, ..Limits::default() }, "more than 3 bytes")]
fn limits_are_those_of_all_layers(#[case] limits: Limits, #[case] want: &str) {
    let target = Target::new();
    let layer = |name: &str| Tar::default().file(name, "12").file(&format!("{name}2"), "").end();
    let archive = Archive::of_layers(&[layer("a"), layer("b")]);
    let err = target.image_within(&archive.bytes(), &limits).unwrap_err();
    assert!(chain(&err).contains(want), "{}", chain(&err));
    assert!(target.path("a").exists() && !target.path("b").exists());
}

#[test]
fn a_bomb_in_many_layers_is_one() {
    let zeros = Tar::default().file("z", &"\0".repeat(1 << 20)).end();
    let layers: Vec<_> = (0..8).map(|_| (gzip(&zeros), zeros.clone())).collect();
    let limits = Limits { ratio: 50, ratio_from: 4 << 20, ..Limits::default() };
    let err =
        Target::new().image_within(&Archive::of_packed(&layers).bytes(), &limits).unwrap_err();
    assert!(chain(&err).contains("more than 50 times"), "{}", chain(&err));
}

#[rstest]
#[case::up(Tar::default().file("../.wh.outside", ""))]
#[case::up_inside(Tar::default().file("a/../../.wh.outside", ""))]
#[case::folder(Tar::default().folder(".wh.d/"))]
#[case::link(Tar::default().symlink(".wh.d", "/"))]
#[case::write_up(Tar::default().file("../escaped", ""))]
fn refuses(#[case] layer: Tar) {
    let (target, archive) = (Target::new(), Archive::of_layers(&[layer.end()]));
    let err = target.image(&archive).unwrap_err();
    assert!(chain(&err).contains("refused entry '"), "{}", chain(&err));
}

/// In a mount namespace of this thread, which other tests do not see.
#[test]
fn a_mounted_volume_keeps_what_it_has() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none = None::<&str>;
    let target = Target::new();
    unshare(CloneFlags::CLONE_NEWNS).expect("root may have its own mounts");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for folder in ["v", "d/w"] {
        let path = target.path(folder);
        fs_err::create_dir_all(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs_err::write(path.join("data"), "kept").unwrap();
    }
    let lower = Tar::default().file("d/f", "").end();
    let upper = Tar::default()
        .file("v/.wh.data", "")
        .file("v/.wh..wh..opq", "")
        .file(".wh.v", "")
        .file(".wh.d", "")
        .end();

    let summary = target.image(&Archive::of_layers(&[lower, upper])).unwrap();

    assert_eq!((target.read("v/data"), target.read("d/w/data")), ("kept".into(), "kept".into()));
    assert!(!target.path("d/f").exists());
    assert_eq!(summary.skipped_whiteouts, 4);
}

#[test]
fn a_name_that_is_no_digest_is_not_looked_up() {
    let mut archive = plain();
    archive.blobs.push(("../../../etc/passwd".to_owned(), b"x".to_vec()));
    Target::new().image(&archive).unwrap();
    assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/// In a mount namespace of this thread.
#[test]
fn a_full_disk_names_layer_and_entry() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none = None::<&str>;
    let target = Target::new();
    unshare(CloneFlags::CLONE_NEWNS).expect("root may have its own mounts");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let size = Some("size=64k");
    mount(Some("tmpfs"), &target.path(""), Some("tmpfs"), MsFlags::empty(), size).unwrap();
    let big = Tar::default().file("usr/big", &"x".repeat(1 << 20)).end();
    let archive = Archive::of_layers(&[Tar::default().file("small", "x").end(), big]);

    let err = target.image(&archive).unwrap_err();

    let want = ": cannot write 'usr/big': No space left on device (os error 28)";
    assert!(chain(&err).ends_with(want), "{}", chain(&err));
}
