//! The crates and the arrows between them, compared with what cargo says, what programs are linked with,
//! and what is shipped beside them and has a parser of its own. A new arrow is a decision: change it here
//! and in ARCHITECTURE.md in the same commit.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Who may depend on whom, without dev-dependencies.
const ARROWS: &[(&str, &[&str])] = &[
    ("openapi", &[]),
    ("pve-integration", &["openapi"]),
    ("dhcp", &[]),
    ("images", &[]),
    ("libcrun-sys", &[]),
    ("libcrun", &["libcrun-sys"]),
    ("heap", &[]),
    ("lxc-protocol", &[]),
    ("loopdev", &[]),
    ("idmap", &[]),
    ("packet", &[]),
    ("seccomp-notify", &[]),
    ("oci-verbs", &[]),
    (
        "monitor",
        &[
            "dhcp",
            "heap",
            "idmap",
            "images",
            "libcrun",
            "loopdev",
            "lxc-protocol",
            "oci-verbs",
            "openapi",
            "packet",
            "pve-integration",
            "seccomp-notify",
        ],
    ),
    (
        "lxc-monitor",
        &[
            "dhcp",
            "heap",
            "idmap",
            "images",
            "loopdev",
            "lxc-protocol",
            "openapi",
            "packet",
            "pve-integration",
        ],
    ),
    ("server", &["heap", "images", "lxc-protocol", "oci-verbs", "openapi", "pve-integration"]),
    ("tests", &[]),
];

/// Crates that must not leave their room: (crate, rooms that may name it).
const CONFINED: &[(&str, &[&str])] = &[
    ("axum", &["server"]),
    ("hyper", &["server"]),
    ("libcrun", &["monitor"]),
    ("libcrun-sys", &["libcrun"]),
    ("tokio", &["server", "images"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, as it built this test");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {stderr}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let plain = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    packages.iter().map(|package| (name(package), plain(package))).collect()
}

#[test]
fn the_arrows_are_those_of_the_design() {
    let found = dependencies();
    let ours: BTreeSet<&String> = found.keys().collect();
    let listed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(name, arrows)| {
            ((*name).to_owned(), arrows.iter().map(|&to| to.to_owned()).collect())
        })
        .collect();
    for (name, dependencies) in &found {
        let inner: BTreeSet<&String> = dependencies.iter().filter(|to| ours.contains(to)).collect();
        let allowed = listed.get(name).unwrap_or_else(|| panic!("{name} is not in the list"));
        assert_eq!(inner, allowed.iter().collect(), "what {name} depends on, and what it may");
    }
    assert_eq!(found.len(), listed.len(), "a listed crate is gone");
}

#[test]
fn async_http_and_ffi_stay_in_their_rooms() {
    for (name, dependencies) in dependencies() {
        for (confined, rooms) in CONFINED {
            if dependencies.contains(*confined) {
                assert!(rooms.contains(&name.as_str()), "{name} may not name {confined}");
            }
        }
    }
}

/// The libraries that a program is linked with, by what their file names begin with.
fn libraries(program: &str) -> BTreeSet<String> {
    let output = Command::new("readelf").arg("-d").arg(tests::binary(program)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    let names = needed.filter_map(|line| line.split_once('[')?.1.split('.').next());
    names.map(str::to_owned).collect()
}

#[test]
fn lxc_s_monitor_loads_wherever_the_daemon_does() {
    let own = ["libcap", "libjson-c", "libseccomp"];
    let (crun, lxc) = (libraries("lxcri-monitor"), libraries("lxcri-lxc-monitor"));
    assert!(own.iter().all(|library| crun.contains(*library)), "{crun:?}");
    assert!(own.iter().all(|library| !lxc.contains(*library)), "{lxc:?}");
    assert!(lxc.is_subset(&libraries("proxmox-lxcri")), "{lxc:?}");
    let has_libcrun = |program: &str| {
        let bytes = fs_err::read(tests::binary(program)).unwrap();
        bytes.windows(24).any(|window| window == b"libcrun_container_create")
    };
    assert!(has_libcrun("lxcri-monitor") && !has_libcrun("lxcri-lxc-monitor"));
}

#[test]
fn the_readme_counts_the_served_methods() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let parity = fs_err::read_to_string(root.join("openapi/parity.toml")).unwrap();
    let readme = fs_err::read_to_string(root.join("README.md")).unwrap();
    let entries = parity.lines().filter(|line| line.starts_with('"')).count();
    let served = parity.matches("status = \"served\"").count();

    let sentence = format!("{entries} methods of PVE's API that concern containers, {served} are");
    assert!(readme.contains(&sentence), "README.md should say: {sentence}");
}

/// As for a kernel with all that the profiles speak of; the container tests load them.
#[test]
fn apparmor_compiles_the_profiles() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/apparmor");
    let output = Command::new("/usr/sbin/apparmor_parser")
        .args(["--skip-kernel-load", "--skip-cache", "--stdout", "--warn=all", "--Werror"])
        .args(["--kernel-features", "/etc/apparmor.d/abi/3.0", "--Include"])
        .arg(&shipped)
        .arg(shipped.join("proxmox-lxcri"))
        .output()
        .expect("scripts/deps.sh test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compiled = String::from_utf8_lossy(&output.stdout);
    for name in ["lxcri-application", "lxcri-nesting", "lxcri-system"] {
        assert!(compiled.contains(name), "{name}");
    }
}
