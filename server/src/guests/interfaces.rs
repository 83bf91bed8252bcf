//! The network interfaces of a running container, as `ip` shows them in its network namespace.

use openapi::Vmid;
use openapi::answer::{GuestInterface, InterfaceAddress};
use serde::Deserialize;

use super::{GuestError, Guests};

/// A container that is in trouble must not keep a request for ever.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// `ip --json address`, as far as it is read.
#[derive(Deserialize)]
struct Link {
    ifname: String,
    address: Option<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    family: String,
    local: String,
    prefixlen: u8,
}

impl Guests {
    /// `None` of one that does not run; PVE does not ask whether there is such a container.
    pub(crate) async fn interfaces(
        &self,
        vmid: Vmid,
    ) -> Result<Option<Vec<GuestInterface>>, GuestError> {
        let found = self.blocking(move |guests| {
            if !guests.is_running(vmid)? {
                return Ok(None);
            }
            Ok(guests.0.running.of(&guests.0.root, vmid).map(|running| running.pid))
        });
        let Some(pid) = found.await? else { return Ok(None) };
        let failed = |err| GuestError::io("unable to run nsenter (is util-linux installed?)", err);
        let mut command = tokio::process::Command::new("nsenter");
        command.args(["-t", &pid.to_string(), "--net", "--", "ip", "--json", "address"]);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let late = |_| GuestError::die("reading the interfaces takes too long");
        let output =
            tokio::time::timeout(TIMEOUT, command.output()).await.map_err(late)?.map_err(failed)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let first = words.lines().next().unwrap_or_default();
            return Err(GuestError::die(format!("unable to read the interfaces: {first}")));
        }
        parse(&output.stdout).map(Some)
    }
}

fn parse(json: &[u8]) -> Result<Vec<GuestInterface>, GuestError> {
    let links: Vec<Link> = serde_json::from_slice(json)
        .map_err(|err| GuestError::die(format!("unable to read the interfaces: {err}")))?;
    Ok(links.iter().map(interface).collect())
}

fn interface(link: &Link) -> GuestInterface {
    let last = |family: &str| {
        let address = link.addr_info.iter().rfind(|address| address.family == family)?;
        Some(format!("{}/{}", address.local, address.prefixlen))
    };
    let hwaddr = link.address.clone().unwrap_or_default();
    GuestInterface {
        name: link.ifname.clone(),
        // The old names hold one address each, the last.
        inet: last("inet"),
        inet6: last("inet6"),
        hwaddr: hwaddr.clone(),
        hardware_address: hwaddr,
        ip_addresses: link
            .addr_info
            .iter()
            .map(|address| InterfaceAddress {
                ip_address_type: address.family.clone(),
                ip_address: address.local.clone(),
                prefix: address.prefixlen.to_string(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_by_old_and_new_names() {
        let text = br#"[{"ifindex":1,"ifname":"lo","flags":["UP"],"mtu":65536,"address":"00:00:00:00:00:00",
            "addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},
            {"family":"inet6","local":"::1","prefixlen":128}]},
            {"ifindex":4,"ifname":"eth0","address":"56:d8:f9:33:f6:b8","addr_info":[]}]"#;

        let answer = serde_json::to_value(parse(text).unwrap()).unwrap();

        assert_eq!(
            answer,
            json!([
                {"name": "lo", "hwaddr": "00:00:00:00:00:00", "hardware-address": "00:00:00:00:00:00",
                 "inet": "127.0.0.1/8", "inet6": "::1/128", "ip-addresses": [
                    {"ip-address-type": "inet", "prefix": "8", "ip-address": "127.0.0.1"},
                    {"ip-address-type": "inet6", "prefix": "128", "ip-address": "::1"}]},
                {"name": "eth0", "hwaddr": "56:d8:f9:33:f6:b8", "hardware-address": "56:d8:f9:33:f6:b8",
                 "ip-addresses": []},
            ])
        );
    }

    #[test]
    fn what_is_no_json_is_no_interface() {
        assert!(parse(b"Cannot open network namespace").is_err());
    }
}
