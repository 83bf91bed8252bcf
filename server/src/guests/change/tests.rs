use rstest::rstest;
use serde_json::json;

use super::super::apply::tests::Fake;
use super::*;

const CONFIG: &str = "\
arch: amd64
cores: 2
hostname: web
memory: 512
mp0: local:100/vm-100-disk-1.raw,mp=/data,size=8G
ostype: debian
rootfs: local:100/vm-100-disk-0.raw,size=4G
swap: 512
unprivileged: 1
";

fn facts(running: bool) -> Facts {
    Facts { vmid: "100".parse().unwrap(), running, cgroup_v2: true, host_cpus: 4 }
}

fn change(params: &Value) -> Change {
    Change::from_params(params.as_object().unwrap())
}

fn applied(params: &Value, running: bool) -> Result<String, GuestError> {
    let mut config = ContainerConfig::parse(CONFIG.as_bytes());
    let change = change(params);
    change.check_names()?;
    change.apply(&mut config, facts(running), &mut Fake::default())?;
    Ok(config.to_string())
}

fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let main = text.split("\n[").next().unwrap();
    main.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

fn pending_part(text: &str) -> &str {
    text.split_once("[pve:pending]\n").map_or("", |(_, pending)| pending)
}

#[test]
fn applies_everything_to_a_stopped_container() {
    let text = applied(&json!({"cores": 4, "onboot": 1, "delete": "swap"}), false).unwrap();

    assert_eq!((line(&text, "cores"), line(&text, "onboot")), (Some("4"), Some("1")));
    assert_eq!((line(&text, "swap"), pending_part(&text)), (None, ""));
}

#[test]
fn what_is_no_key_is_no_change() {
    let params = json!({"node": "pve1", "vmid": 100, "digest": "x"});
    assert_eq!(change(&params), Change::default());
}

#[test]
fn an_empty_description_is_none() {
    let text = applied(&json!({"description": ""}), true).unwrap();

    assert!(!text.contains('#'), "{text}");
}

#[test]
fn destroys_a_volume_with_its_unused_entry() {
    let mut config = ContainerConfig::parse(
        format!("{CONFIG}unused0: local:100/vm-100-disk-7.raw\n").as_bytes(),
    );

    let doomed = change(&json!({"delete": "unused0"}))
        .apply(&mut config, facts(false), &mut Fake::default())
        .unwrap();

    assert_eq!(doomed, ["local:100/vm-100-disk-7.raw".parse().unwrap()]);
    assert_eq!(config.get("unused0"), None);
}

#[test]
fn leaves_another_containers_volume_alone() {
    let mut config = ContainerConfig::parse(
        format!("{CONFIG}unused0: local:101/vm-101-disk-0.raw\n").as_bytes(),
    );

    let doomed = change(&json!({"delete": "unused0"}))
        .apply(&mut config, facts(false), &mut Fake::default())
        .unwrap();

    assert!(doomed.is_empty());
}

#[rstest]
#[case::nameserver("nameserver", "1.2.3.4,5.6.7.8", "1.2.3.4 5.6.7.8")]
#[case::cpuunits("cpuunits", "500000", "10000")]
#[case::cpulimit("cpulimit", "0.5", "0.5")]
fn stores_values_as_pve_does(#[case] key: &str, #[case] given: &str, #[case] stored: &str) {
    let text = applied(&json!({ key: given }), false).unwrap();
    assert_eq!(line(&text, key), Some(stored));
}

#[rstest]
#[case::unknown(json!({"delete": "foo"}), "unknown option 'foo'")]
#[case::no_key(json!({"delete": "vmid"}), "unknown option 'vmid'")]
#[case::set_and_delete(
    json!({"delete": "cores", "cores": 1}),
    "you can't use '-cores' and -delete cores' at the same time"
)]
#[case::set_and_revert(
    json!({"revert": "cores", "cores": 1}),
    "you can't use '-cores' and '-revert cores' at the same time"
)]
#[case::delete_and_revert(
    json!({"delete": "cores", "revert": "cores"}),
    "you can't use '-delete cores' and '-revert cores' at the same time"
)]
fn refuses_contradictions(#[case] params: Value, #[case] message: &str) {
    match applied(&params, false) {
        Err(GuestError::Params(errors)) => {
            assert!(errors.values().any(|text| text == message), "{errors:?}")
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::required(json!({"delete": "memory"}), "unable to delete required option 'memory'")]
#[case::read_only(json!({"unprivileged": 0}), "unable to modify read-only option: 'unprivileged'")]
#[case::no_delete(json!({"delete": "unprivileged"}), "unable to delete read-only option: 'unprivileged'")]
fn refuses_what_pve_refuses(#[case] params: Value, #[case] message: &str) {
    assert_eq!(applied(&params, false).unwrap_err().to_string(), message);
}

#[rstest]
#[case::no_device(json!({"dev0": "/dev/nope"}), "no device")]
#[case::no_path(json!({"dev0": "mode=0660"}), "Path has to be defined")]
#[case::id_map(
    json!({"mp1": "/srv,mp=/x,idmap=u:0:1000:2;u:1:5:1"}),
    "invalid map entry 'u 1 5 1': container uid 1 is also mapped by entry 'u 0 1000 2'"
)]
#[case::storage(json!({"mp1": "other:1,mp=/x"}), "storage 'other' does not exist")]
fn refuses_what_it_cannot_use(#[case] params: Value, #[case] message: &str) {
    for running in [false, true] {
        assert_eq!(applied(&params, running).unwrap_err().to_string(), message);
    }
}

#[test]
fn devices_and_folders_of_the_host_are_stored() {
    let params =
        json!({"dev0": "/dev/null,mode=0660", "mp1": "/srv,mp=/x", "mp2": "/dev/sdz,mp=/y"});

    let text = applied(&params, false).unwrap();

    assert_eq!(line(&text, "dev0"), Some("/dev/null,mode=0660"));
    assert_eq!(
        (line(&text, "mp1"), line(&text, "mp2")),
        (Some("/srv,mp=/x"), Some("/dev/sdz,mp=/y"))
    );
}

#[test]
fn a_folder_of_the_host_is_no_unused_volume() {
    let mut config = ContainerConfig::parse(format!("{CONFIG}mp1: /srv,mp=/x\n").as_bytes());

    let doomed = change(&json!({"delete": "mp1"}))
        .apply(&mut config, facts(false), &mut Fake::default())
        .unwrap();

    assert_eq!((doomed.len(), config.to_string().as_str()), (0, CONFIG));
}

#[test]
fn a_protected_container_keeps_its_drives() {
    let mut config = ContainerConfig::parse(format!("{CONFIG}protection: 1\n").as_bytes());

    let err = change(&json!({"delete": "mp0"}))
        .apply(&mut config, facts(false), &mut Fake::default())
        .unwrap_err();

    assert_eq!(err.to_string(), "can't remove CT 100 drive 'mp0' - protection mode enabled");
}

#[test]
fn deleting_what_is_not_set_changes_nothing() {
    assert_eq!(applied(&json!({"delete": "tags"}), false).unwrap(), CONFIG);
}

#[rstest]
#[case("4", Some(4.0))]
#[case("0.5", Some(0.5))]
#[case("0", Some(0.0))]
#[case("100/vm-100-disk-0.raw", None)]
#[case("inf", None)]
#[case("4.", None)]
fn a_number_asks_for_a_new_volume(#[case] name: &str, #[case] size: Option<f64>) {
    assert_eq!(new_size_gib(name), size);
}
