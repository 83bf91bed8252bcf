//! Containers of OCI archives: what is seen inside of two layers and of the image's config, and what
//! a damaged archive or a full disk leaves.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Content, Daemon, rootfs};

use crate::{SMALL, SUBVOL, UNPRIVILEGED};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

/// Write `name` with the test's busybox below and `upper` above; the digest of its manifest.
fn archive(daemon: &Daemon, name: &str, upper: &[(&str, &[u8])], config: &Value) -> String {
    let staging = tempfile::tempdir().unwrap();
    let content = Content::default()
        .file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nwww:x:44:\ntape:x:26:web\n")
        .file("srv/kept", 0o644, "lower\n")
        .file("srv/changed", 0o644, "lower\n")
        .file("srv/hidden", 0o644, "lower\n")
        .file("opt/all/of/it", 0o644, "lower\n");
    let lower = fs_err::read(rootfs(staging.path(), "base.tar", &content)).unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    upper.iter().for_each(|(path, content)| add(&mut layer, path, content));
    let layers = [lower, layer.into_inner().unwrap()];
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, &config),
        "layers": layers.each_ref().map(|layer| describe(LAYER, layer)),
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({"schemaVersion": 2, "manifests": [describe(MANIFEST, &manifest)]});
    let mut tar = tar::Builder::new(Vec::new());
    for blob in layers.iter().chain([&config, &manifest]) {
        add(&mut tar, &format!("blobs/sha256/{}", &digest(blob)[7..]), blob);
    }
    add(&mut tar, "index.json", index.to_string().as_bytes());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    fs_err::create_dir_all(daemon.templates()).unwrap();
    fs_err::write(daemon.templates().join(name), tar.into_inner().unwrap()).unwrap();
    digest(&manifest)
}

const UPPER: &[(&str, &[u8])] = &[
    ("srv/changed", b"upper\n"),
    ("srv/.wh.hidden", b""),
    ("opt/.wh..wh..opq", b""),
    ("opt/new", b"upper\n"),
];

#[test]
fn an_application_finds_its_layers_and_its_config() {
    tests::require_machine();
    let daemon = Daemon::start();
    let script = "cat /srv/kept /srv/changed; ls /srv /opt; echo cwd=$(pwd) A=$A B=$B; id; \
        test -d /data/deep && echo volume; test ! -e /srv/hidden && test ! -e /opt/all && echo gone";
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "WorkingDir": "/srv", "User": "web",
        "Env": ["PATH=/bin", "A=from the image", "B=from the image"],
        "Volumes": {"/data/deep": {}}, "StopSignal": "SIGINT",
    });
    let manifest = archive(&daemon, "app.tar", UPPER, &config);
    let parameters = [SMALL, SUBVOL, UNPRIVILEGED, ("env", "B=asked for")];

    let log = daemon.try_create(100, "app.tar", &parameters).ok();

    assert!(log.contains("Detected OCI archive"), "{log}");
    assert!(log.contains("creating base directory for volume at /data/deep"), "{log}");
    assert!(!log.contains("IMAGE"), "{log}");
    let guest = daemon.guest(100);
    let config = guest.config();
    assert_eq!(config["cmode"], "console");
    assert_eq!(config["ostype"], "unmanaged");
    assert!(config["entrypoint"].as_str().unwrap().starts_with("/bin/sh -c 'cat /srv/kept"));
    let raw = [
        ["lxc.init.uid", "33"],
        ["lxc.init.gid", "44"],
        ["lxc.init.groups", "26"],
        ["lxc.init.cwd", "/srv"],
        ["lxc.signal.halt", "SIGINT"],
    ];
    assert_eq!(config["lxc"], json!(raw));
    let oci = daemon.root().join("etc/pve/nodes/pve1/oci/100.conf");
    let oci = fs_err::read_to_string(oci).unwrap();
    assert!(oci.contains(&format!("image-digest: {manifest}\n")), "{oci}");

    let output = guest.ends_well();
    for line in [
        "lower",
        "upper",
        "changed",
        "kept",
        "new",
        "cwd=/srv A=from the image B=asked for",
        "volume",
        "gone",
    ] {
        assert!(output.lines().any(|seen| seen.trim_end() == line), "no {line:?} in:\n{output}");
    }
    assert!(output.contains("uid=33(web) gid=44(www)") && output.contains("26(tape)"), "{output}");
    guest.destroy();
}

#[test]
fn what_cannot_be_unpacked_leaves_nothing() {
    tests::require_machine();
    let daemon = Daemon::start();
    archive(&daemon, "good.tar", UPPER, &json!({"Cmd": ["/bin/true"]}));
    let mut bytes = fs_err::read(daemon.templates().join("good.tar")).unwrap();
    bytes[5000] ^= 1; // in the first layer
    fs_err::write(daemon.templates().join("bad.tar"), bytes).unwrap();
    let big = vec![b'x'; 48 << 20];
    archive(&daemon, "big.tar", &[("big", &big)], &json!({"Cmd": ["/bin/true"]}));

    for (name, rootfs, complaint) in [
        ("bad.tar", SUBVOL, "is damaged: it has the digest sha256:"),
        ("big.tar", ("rootfs", "local:0.03125"), "No space left on device"),
    ] {
        let task = daemon.try_create(100, name, &[SMALL, rootfs, UNPRIVILEGED]);

        let error = task.failed();
        assert!(error.contains(complaint), "{error}");
        assert!(!daemon.config_path(100).exists());
        assert!(!daemon.root().join("etc/pve/nodes/pve1/oci/100.conf").exists());
        assert!(!daemon.root().join("var/lib/vz/images/100").exists());
    }
}
