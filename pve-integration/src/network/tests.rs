//! A snapshot of the steps for each config in the corpus, and for each kind of change.

use std::path::PathBuf;

use proptest::prelude::*;
use rstest::{Context, rstest};

use super::*;
use crate::ct_config::{ContainerConfig, Net};

fn bridge(mtu: u32, vlan_aware: bool, uplinks: &[&str]) -> Bridge {
    let uplinks = uplinks.iter().map(|name| (*name).to_owned()).collect();
    Bridge { mtu, plain: true, vlan_aware, uplinks }
}

/// `vmbr0` is plain, `vmbr1` knows VLANs, `vmbr2` is on no cable.
pub(crate) fn facts() -> Facts {
    let bridges = [
        ("vmbr0".to_owned(), bridge(1500, false, &["eno1"])),
        ("vmbr1".to_owned(), bridge(9000, true, &["eno2"])),
        ("vmbr2".to_owned(), bridge(1500, false, &[])),
    ];
    Facts { bridges: bridges.into(), firewall: false, ipv6: true }
}

fn vmid() -> Vmid {
    "100".parse().unwrap()
}

pub(crate) fn text(plan: &Plan) -> String {
    let host = plan.host.iter().map(|step| format!("host: {step:?}\n"));
    let inner = plan.inner.iter().map(|step| format!("inside: {step:?}\n"));
    let leases = plan.leases.iter().map(|lease| format!("{lease:?}\n"));
    let warnings = plan.warnings.iter().map(|w| format!("WARN: {}: {}\n", w.key, w.reason));
    host.chain(inner).chain(leases).chain(warnings).collect()
}

pub(crate) fn started(config: &str, facts: &Facts) -> Result<Plan, NetworkError> {
    start(vmid(), ContainerConfig::parse(config.as_bytes()).current(), facts)
}

#[rstest]
fn starts(#[files("tests/network/*.conf")] path: PathBuf) {
    let config = fs_err::read_to_string(&path).unwrap();
    let facts = Facts { firewall: config.contains("PVE's firewall"), ..facts() };

    let plan = started(&config, &facts).unwrap();

    let name = path.file_stem().unwrap().to_string_lossy();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(text(&plan));
    });
}

#[rstest]
#[case::no_bridge("bridge=vmbr9", "bridge 'vmbr9' does not exist")]
#[case::no_bridge_and_down("bridge=vmbr9,link_down=1", "bridge 'vmbr9' does not exist")]
#[case::large("bridge=vmbr0,mtu=9000", "net0: MTU size '9000' is bigger than bridge MTU '1500'")]
#[case::slaac(
    "bridge=vmbr0,host-managed=1,ip6=auto",
    "net0: SLAAC is not supported for host-managed network configuration."
)]
#[case::no_cable("bridge=vmbr2,tag=5", "no physical interface on bridge 'vmbr2'")]
#[case::hwaddr(
    "hwaddr=BC:24:11",
    "unable to parse value of 'net0' - invalid format - net0.hwaddr: 'BC:24:11'"
)]
#[case::address(
    "ip=10.0.0.300/24",
    "unable to parse value of 'net0' - invalid format - net0.ip: '10.0.0.300/24'"
)]
#[case::wrong_family(
    "ip=fd00::1/64",
    "unable to parse value of 'net0' - invalid format - net0.ip: 'fd00::1/64'"
)]
#[case::wrong_gateway(
    "ip=10.0.0.2/24,gw=fd00::1",
    "unable to parse value of 'net0' - invalid format - net0.gw: 'fd00::1'"
)]
#[case::no_slaac_of_version_4(
    "ip=auto",
    "unable to parse value of 'net0' - invalid format - net0.ip: 'auto'"
)]
#[case::trunks(
    "trunks=1;5000",
    "unable to parse value of 'net0' - invalid format - net0.trunks: '5000'"
)]
#[case::rate("rate=-1", "unable to parse value of 'net0' - invalid format - net0.rate: '-1'")]
fn refuses(#[case] net: &str, #[case] message: &str) {
    let err = started(&format!("net0: name=eth0,{net}\n"), &facts()).unwrap_err();

    assert_eq!(err.to_string(), message);
}

#[test]
fn says_that_the_host_has_no_ipv6() {
    let facts = Facts { ipv6: false, ..facts() };
    let config = "entrypoint: /bin/true\nnet0: name=eth0,ip6=fd00::2/64\n";

    let err = started(config, &facts).unwrap_err();

    assert_eq!(err.to_string(), "net0: ip6 is set, and this host has no IPv6");
}

const NET: &str =
    "name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:01,ip=10.0.0.2/24,gw=10.0.0.1,ip6=fd00::2/64";

#[rstest]
#[case::add(None, Some(NET))]
#[case::remove(Some(NET), None)]
#[case::same(Some(NET), Some(NET))]
#[case::name(Some(NET), Some("name=eth9,bridge=vmbr1,hwaddr=BC:24:11:00:00:01"))]
#[case::hwaddr(Some(NET), Some("name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:02"))]
#[case::same_hwaddr(
    Some("name=eth0,hwaddr=bc:24:11:00:00:01"),
    Some("name=eth0,hwaddr=BC:24:11:00:00:01")
)]
#[case::bridge(Some("name=eth0,bridge=vmbr1"), Some("name=eth0,bridge=vmbr0"))]
#[case::tag(Some("name=eth0,bridge=vmbr1,rate=2"), Some("name=eth0,bridge=vmbr1,tag=9,rate=2"))]
#[case::down(Some("name=eth0,bridge=vmbr1"), Some("name=eth0,bridge=vmbr1,link_down=1"))]
#[case::up(Some("name=eth0,bridge=vmbr1,link_down=1"), Some("name=eth0,bridge=vmbr1"))]
#[case::rate(Some("name=eth0,bridge=vmbr1,rate=2"), Some("name=eth0,bridge=vmbr1,rate=3"))]
#[case::no_rate(Some("name=eth0,bridge=vmbr1,rate=2"), Some("name=eth0,bridge=vmbr1"))]
#[case::mtu(Some("name=eth0,bridge=vmbr1"), Some("name=eth0,bridge=vmbr1,mtu=1400"))]
#[case::address(
    Some("name=eth0,ip=10.0.0.2/24,gw=10.0.0.1"),
    Some("name=eth0,ip=10.0.0.3/24,gw=10.0.0.1")
)]
#[case::gateway(
    Some("name=eth0,ip=10.0.0.2/24,gw=10.0.0.1"),
    Some("name=eth0,ip=10.0.0.2/24,gw=192.0.2.1")
)]
#[case::no_gateway(Some("name=eth0,ip=10.0.0.2/24,gw=10.0.0.1"), Some("name=eth0,ip=10.0.0.2/24"))]
#[case::no_address(Some("name=eth0,ip=10.0.0.2/24,ip6=fd00::2/64"), Some("name=eth0"))]
#[case::lease(Some("name=eth0,ip=10.0.0.2/24"), Some("name=eth0,ip=dhcp,ip6=auto"))]
fn changes(#[case] old: Option<&str>, #[case] new: Option<&str>, #[context] context: Context) {
    let parse = |value: Option<&str>| value.map(|value| Net::parse("net3", value).unwrap());
    let (old, new) = (parse(old), parse(new));

    let plan = change(vmid(), "net3", old.as_ref(), new.as_ref(), &facts()).unwrap();

    insta::with_settings!({
        snapshot_suffix => context.description.unwrap_or_default(), omit_expression => true
    }, {
        insta::assert_snapshot!(text(&plan));
    });
}

#[test]
fn links_of_another_container_are_not_ours() {
    for name in ["veth100i0", "veth100i31", "fwbr100i2", "fwln100i2", "fwpr100p2"] {
        assert!(is_of(name, vmid()), "{name}");
    }
    for name in ["veth1000i0", "veth10i0", "veth100i", "veth100ix", "tap100i0", "fwpr100i0"] {
        assert!(!is_of(name, vmid()), "{name}");
    }
}

proptest! {
    #[test]
    fn never_panics(
        old in "name=[a-z]{1,4}(,[a-z0-9-]{2,6}=[0-9a-f:./;-]{0,20}){0,4}",
        parts in "(,(ip|ip6|gw|gw6|rate|trunks|hwaddr|tag|mtu)=[0-9a-f:./;-]{0,20}){0,6}",
    ) {
        for text in [old.clone(), format!("name=eth0{parts}"), format!("name=eth0,bridge=vmbr1{parts}")] {
            let Ok(net) = Net::parse("net0", &text) else { continue };
            let before = Net::parse("net0", &old).ok();
            let _plan = change(vmid(), "net0", before.as_ref(), Some(&net), &facts());
            let _plan = started(&format!("net0: {text}\n"), &facts());
        }
    }
}
