//! `netN` as it is stored: printed anew, with a hardware address and PVE's type.

use openapi::property_string;
use openapi::schema::config_key;
use serde_json::Value;
use uuid::Uuid;

use super::error::GuestError;

/// datacenter.cfg may name another.
const MAC_PREFIX: &str = "BC:24:11";

/// The stored form of a checked value. Refuses what no start could set up.
pub(crate) fn normal(key: &str, value: &str) -> Result<String, GuestError> {
    let keys = config_key(key).and_then(|property| property.format.as_ref()?.keys());
    let keys = keys.expect("the method table declares net[n] as a property string");
    let wrong =
        |err: &dyn std::fmt::Display| GuestError::param(key, format!("invalid format - {err}\n"));
    let mut values = property_string::parse(keys, value).map_err(|err| wrong(&err))?;
    let text = |name: &str| values.get(name).map(super::change::text);
    if let (Some(mtu), Some(bridge)) = (text("mtu"), text("bridge")) {
        check_mtu(key, &mtu, &bridge)?;
    }
    let down = text("link_down").as_deref() == Some("1");
    if !down
        && text("host-managed").as_deref() == Some("1")
        && text("ip6").as_deref() == Some("auto")
    {
        return Err(GuestError::die(format!(
            "{key}: SLAAC is not supported for host-managed network configuration."
        )));
    }
    if !values.contains_key("hwaddr") {
        values.insert("hwaddr".to_owned(), Value::String(random_mac()));
    }
    values.insert("type".to_owned(), Value::String("veth".to_owned()));
    property_string::print(keys, &values).map_err(|err| wrong(&err))
}

/// With an address that begins as datacenter.cfg says, if it has none.
pub(crate) fn with_mac_prefix(value: &str, prefix: &str) -> String {
    if value.split(',').any(|part| part.trim_start().starts_with("hwaddr=")) {
        return value.to_owned();
    }
    let mac = random_mac();
    let rest = mac.get(prefix.len()..).unwrap_or_default();
    format!("{value},hwaddr={}{rest}", prefix.to_uppercase())
}

/// The same interface with a hardware address of its own, for a copy.
pub(super) fn with_new_address(
    key: &str,
    value: &str,
    prefix: Option<&str>,
) -> Result<String, GuestError> {
    let parts = value.split(',').filter(|part| !part.starts_with("hwaddr="));
    let value = parts.collect::<Vec<_>>().join(",");
    normal(key, &with_mac_prefix(&value, prefix.unwrap_or(MAC_PREFIX)))
}

/// What PVE checks for its use: of the zone that holds every bridge which is not a network of PVE's
/// own.
pub(crate) fn bridge_path(net: &str) -> Option<String> {
    let part =
        |key: &str| net.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let bridge = part("bridge")?;
    let tag = part("tag").map(|tag| format!("/{tag}")).unwrap_or_default();
    Some(format!("/sdn/zones/localnetwork/{bridge}{tag}"))
}

fn check_mtu(key: &str, mtu: &str, bridge: &str) -> Result<(), GuestError> {
    let Ok(text) = fs_err::read_to_string(format!("/sys/class/net/{bridge}/mtu")) else {
        return Ok(()); // a bridge that is not there is the start's affair, as for every net
    };
    let (mtu, limit): (u32, u32) =
        (mtu.parse().unwrap_or_default(), text.trim().parse().unwrap_or(u32::MAX));
    if mtu > limit {
        return Err(GuestError::die(format!(
            "{key}: MTU size '{mtu}' is bigger than bridge MTU '{limit}'"
        )));
    }
    Ok(())
}

fn random_mac() -> String {
    let bytes = *Uuid::new_v4().as_bytes();
    format!("{MAC_PREFIX}:{:02X}:{:02X}:{:02X}", bytes[0], bytes[1], bytes[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_keys_in_pves_order() {
        let value = "bridge=vmbr0,ip=10.0.0.5/24,name=eth0,gw=10.0.0.1,hwaddr=BC:24:11:AA:BB:CC,firewall=yes";

        assert_eq!(
            normal("net0", value).unwrap(),
            "name=eth0,bridge=vmbr0,firewall=1,gw=10.0.0.1,hwaddr=BC:24:11:AA:BB:CC,ip=10.0.0.5/24,type=veth"
        );
    }

    #[test]
    fn gives_each_interface_an_address_of_its_own() {
        let hwaddr = || {
            let text = normal("net1", "name=eth1").unwrap();
            text.split(',').find_map(|part| part.strip_prefix("hwaddr=")).unwrap().to_owned()
        };
        let (one, other) = (hwaddr(), hwaddr());

        assert!(one.starts_with("BC:24:11:") && one.len() == 17, "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn a_vlan_has_a_path_of_its_own() {
        assert_eq!(
            bridge_path("name=eth0,bridge=vmbr0,tag=7").as_deref(),
            Some("/sdn/zones/localnetwork/vmbr0/7")
        );
        assert_eq!(bridge_path("name=eth0"), None);
    }

    #[test]
    fn refuses_slaac_that_the_host_would_have_to_do() {
        let err = normal("net0", "name=eth0,host-managed=1,ip6=auto").unwrap_err();

        assert_eq!(
            err.to_string(),
            "net0: SLAAC is not supported for host-managed network configuration."
        );
        normal("net0", "name=eth0,host-managed=1,ip6=auto,link_down=1").unwrap();
    }
}
