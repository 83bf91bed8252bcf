//! What the commands do to the tree of configurations, as far as tests look at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::grammar::Call;

fn path(root: &Path, vmid: &str) -> PathBuf {
    root.join(format!("etc/pve/nodes/pve1/lxc/{vmid}.conf"))
}

pub(crate) fn apply(root: &Path, call: &Call) -> Result<(), String> {
    let vmid = call.value("vmid");
    let own = path(root, vmid);
    if matches!(call.verb.as_str(), "create" | "restore") {
        let mut config = BTreeMap::from([
            ("arch".to_owned(), "amd64".to_owned()),
            ("ostype".to_owned(), "debian".to_owned()),
            ("rootfs".to_owned(), format!("local:{vmid}/vm-{vmid}-disk-0.raw,size=4G")),
        ]);
        config.extend(call.config());
        fs_err::write(own, text(&config)).unwrap();
        return Ok(());
    }
    let Ok(before) = fs_err::read_to_string(&own) else {
        return Err(format!("Configuration file 'nodes/pve1/lxc/{vmid}.conf' does not exist"));
    };
    match call.verb.as_str() {
        "destroy" => fs_err::remove_file(own).unwrap(),
        "clone" => fs_err::write(path(root, call.value("newid")), before).unwrap(),
        "snapshot" => {
            let section = format!("{before}\n[{}]\nsnaptime: 1\n", call.value("snapname"));
            fs_err::write(own, section).unwrap();
        }
        "delsnapshot" => {
            let section = format!("\n[{}]\nsnaptime: 1\n", call.value("snapname"));
            fs_err::write(own, before.replace(&section, "")).unwrap();
        }
        "set" => {
            let lines = before.lines().filter_map(|line| line.split_once(": "));
            let mut config: BTreeMap<String, String> =
                lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            config.extend(call.config());
            for key in call.value("delete").split(',') {
                config.remove(key);
            }
            fs_err::write(own, text(&config)).unwrap();
        }
        _ => {}
    }
    Ok(())
}

fn text(config: &BTreeMap<String, String>) -> String {
    config.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}
