use std::path::{Path, PathBuf};

use rstest::rstest;

use super::*;

fn lines(rows: &[Explained]) -> String {
    let line = |row: &Explained| {
        let path = row.path.as_deref().unwrap_or("-");
        let value = row.value.as_ref().map(Value::to_string).unwrap_or_default();
        format!("{} | {path} | {value} | {}\n", row.key, row.why)
    };
    rows.iter().map(line).collect()
}

fn rows(text: &str, oci: &str, policy: &str) -> Vec<Explained> {
    let config = ContainerConfig::parse(text.as_bytes());
    let (oci, policy) = (OciConfig::parse(oci), Policy::parse(policy, Path::new("p")).unwrap());
    let ttys = terminals(&config, &[]).unwrap();
    let terminal = config.has_terminal();
    let guest =
        Guest { oci: &oci, policy: &policy, ttys: &ttys, terminal, ..Guest::for_tests(&config) };
    explain(&guest, &HostFacts::for_tests()).unwrap()
}

#[rstest]
fn explains(
    #[files("tests/bundle/application.conf")]
    #[files("tests/bundle/nesting-own-ids.conf")]
    #[files("tests/bundle/other-keys.conf")]
    path: PathBuf,
) {
    let text = fs_err::read_to_string(&path).unwrap();
    let oci = "runtime: crun\npids: 100\nio-max: 8:0 rbps=1\nio-max: 8:16 rbps=2\n";
    let policy = "drop-capabilities = [\"NET_RAW\"]\n";

    let rows = rows(&text, oci, policy);

    let name = path.file_stem().unwrap().to_string_lossy();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(lines(&rows));
    });
}

/// Nothing is forgotten: neither a key nor a part of the bundle.
#[rstest]
fn each_key_and_each_part_is_told(#[files("tests/bundle/*.conf")] path: PathBuf) {
    let text = fs_err::read_to_string(&path).unwrap();
    let config = ContainerConfig::parse(text.as_bytes());

    let rows = rows(&text, "", "");

    let raw = config.current().lxc().iter().map(|(key, _)| key.as_str());
    for key in config.current().iter().map(|(key, _)| key).chain(raw) {
        assert!(rows.iter().any(|row| row.key == key), "{key}");
    }
    for part in ["root.path", "process.args", "process.env", "linux.cgroupsPath", "hostname"] {
        assert!(rows.iter().any(|row| row.path.as_deref() == Some(part)), "{part}");
    }
}
