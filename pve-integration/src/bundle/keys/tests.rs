use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::ct_config::ContainerConfig;

const BEGIN: &str = "<!-- the keys, made by `make bless` -->\n";
const END: &str = "<!-- the end of the keys -->\n";

#[test]
fn the_architecture_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs_err::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();

    if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        let blessed = format!("{before}{BEGIN}\n{}\n{END}{after}", list());
        fs_err::write(&path, blessed).unwrap();
    } else {
        assert_eq!(found.trim(), list().trim(), "`make bless` brings it up to date");
    }
}

/// What the API takes, and what PVE takes in the file.
#[test]
fn every_key_of_pve_has_a_line() {
    let named: BTreeSet<_> = TABLE.iter().map(|line| line.name).collect();
    assert_eq!(named.len(), TABLE.len(), "none twice");
    let put = openapi::schema::methods().get("PUT", "/nodes/{node}/lxc/{vmid}/config").unwrap();
    let no_key = ["delete", "digest", "node", "revert", "vmid"];
    for (name, property) in put.parameters.iter().filter(|(name, _)| !no_key.contains(name)) {
        assert!(named.contains(name), "{name}");
        let parts = property.format.as_ref().and_then(|format| format.keys());
        for (part, _) in parts.into_iter().flat_map(|parts| parts.iter()) {
            assert!(named.contains(format!("{name} {part}").as_str()), "{name} {part}");
        }
    }
    for name in crate::ct_config::RAW_KEYS {
        assert!(TABLE.iter().any(|line| line.matches(name)), "{name}");
    }
}

#[test]
fn a_name_stands_for_many() {
    let reach = |key: &str| CRUN.fate(key);
    assert_eq!(reach("dev12"), Fate::Applied);
    assert_eq!(reach("dev"), Fate::Warned(""), "no key");
    assert_eq!(reach("lxc.prlimit.core"), Fate::Applied);
    assert_eq!(reach("lxc.prlimit."), Fate::Warned(""), "no key");
}

#[test]
fn a_part_is_named_with_its_key() {
    let config = ContainerConfig::parse(b"features: mknod=1,keyctl=1\nrootfs: local:1/x,quota=1\n");
    let section = config.current();
    let mut warnings = Vec::new();

    warn(section, &section.features().unwrap(), &LXC, &mut warnings);

    let lines: Vec<_> =
        warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.reason)).collect();
    assert_eq!(lines, ["features: mknod is not applied by the lxc runtime yet"]);
}
