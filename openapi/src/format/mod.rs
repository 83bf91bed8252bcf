//! PVE's named formats: what a text must be, and PVE's words if it is not. Those that are property
//! strings have their keys in the method table; only what PVE checks beyond the keys is here.
//!
//! Perl's `$` also matches before a last newline; none of these do, for a newline in a value would
//! end up in a configuration file.

mod calendar;
pub mod firewall;
mod host;
mod ids;
mod net;
mod storage;

use indexmap::IndexMap;
use serde_json::Value;

use crate::Privilege;

/// The rule of a format: `Err` has PVE's message, without the newline that ends it.
type Verify = fn(&str) -> Result<(), String>;

/// Check one text against a format that is no property string, `-list` or `-opt` at its end or not.
/// A name that PVE does not know is refused in PVE's words.
pub fn verify(format: &str, text: &str) -> Result<(), String> {
    let undefined = || format!("undefined format '{format}'");
    if let Some(name) = format.strip_suffix("-list") {
        let rule = rule(name).ok_or_else(undefined)?;
        return split_list(text).try_for_each(rule);
    }
    if let Some(name) = format.strip_suffix("-opt") {
        let rule = rule(name).ok_or_else(undefined)?;
        return if is_true(text) { rule(text) } else { Ok(()) };
    }
    rule(format).ok_or_else(undefined)?(text)
}

/// What PVE checks of a named property string beyond its keys; `values` are texts.
pub(crate) fn verify_keys(name: &str, values: &IndexMap<String, Value>) -> Result<(), String> {
    let is_set = |key: &str| values.get(key).and_then(Value::as_str).is_some_and(is_true);
    match name {
        "prune-backups" => {
            let mut keeps = values.iter().filter(|(key, _)| *key != "keep-all");
            let limited = keeps.any(|(_, value)| {
                value.as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n > 0.0)
            });
            ensure(!limited || !is_set("keep-all"), || {
                "keep-all cannot be set together with other options.".to_owned()
            })
        }
        "backup-fleecing" => ensure(is_set("storage") || !is_set("enabled"), || {
            "'storage' parameter is required when 'enabled' is set".to_owned()
        }),
        _ => Ok(()),
    }
}

/// What Perl takes for true.
pub(crate) fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0")
}

/// The items of a `-list` text, as PVE's `split_list` finds them: divided by NUL if there is one,
/// else by commas, semicolons and blanks.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let nul = text.contains('\0');
    text.split(
        move |c: char| {
            if nul { c == '\0' } else { matches!(c, ',' | ';') || c.is_whitespace() }
        },
    )
    .filter(|item| !item.is_empty())
}

/// `Ok` if `good`, else PVE's words.
fn ensure(good: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(message()) }
}

/// Whether `text` has at least one character and all are `allowed`.
fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

fn rule(name: &str) -> Option<Verify> {
    Some(match name {
        "CIDR" => net::cidr,
        "CIDRv4" => net::cidr_v4,
        "CIDRv6" => net::cidr_v6,
        "IPorCIDR" => firewall::ip_or_cidr,
        "IPorCIDRorAlias" => firewall::ip_or_cidr_or_alias,
        "address" => net::address,
        "bridge-pair" => |text| ids::pair(text, ids::bridge_id),
        "disk-size" => storage::disk_size,
        "dns-name" => net::dns_name,
        "email" => ids::email,
        "email-or-username" => ids::email_or_username,
        "ip" => net::ip,
        "ipv4" => net::ipv4,
        "ipv4mask" => net::ipv4_mask,
        "ipv6" => net::ipv6,
        "ldap-simple-attr" => ids::ldap_attribute,
        "lxc-ip-with-ll-iface" => net::ip_with_interface,
        "mac-addr" => net::mac,
        "mac-prefix" => net::mac_prefix,
        "pve-acme-alias" => ids::acme_alias,
        "pve-acme-domain" => ids::acme_domain,
        "pve-bridge-id" => ids::bridge_id,
        "pve-calendar-event" => calendar::event,
        "pve-command-batch" => host::command_batch,
        "pve-configid" => ids::config_id,
        "pve-ct-timezone" => host::container_timezone,
        "pve-day-of-week" => calendar::day_of_week,
        "pve-dir-override" => storage::dir_override,
        "pve-fw-addr-spec" => firewall::addresses,
        "pve-fw-dport-spec" => firewall::destination_ports,
        "pve-fw-icmp-type-spec" => firewall::icmp_type,
        "pve-fw-protocol-spec" => firewall::protocol,
        "pve-fw-sport-spec" => firewall::source_ports,
        "pve-groupid" => ids::group_id,
        "pve-ha-resource-or-vm-id" => ids::ha_resource,
        "pve-iface" => net::interface,
        "pve-ipv4-config" => net::ipv4_config,
        "pve-ipv6-config" => net::ipv6_config,
        "pve-lxc-dev-string" => host::device_path,
        "pve-lxc-mp-string" => host::mount_path,
        "pve-node" => net::node,
        "pve-poolid" => ids::pool_id,
        "pve-priv" => |text| parsed::<Privilege>(text),
        "pve-realm" => ids::realm,
        "pve-roleid" => ids::role_id,
        "pve-startup-order" => host::startup_order,
        "pve-storage-content" => storage::content,
        "pve-storage-id" => |text| parsed::<crate::StorageId>(text),
        "pve-storage-options" => storage::mount_options,
        "pve-storage-path" => storage::path,
        "pve-storage-portal-dns" => net::portal,
        "pve-storage-server" => net::server,
        "pve-storage-vgname" => storage::volume_group,
        "pve-storage-zfs-blocksize" => storage::zfs_block_size,
        "pve-tag" => ids::tag,
        "pve-task-status-type" => host::task_status,
        "pve-tokenid" => ids::token_id,
        "pve-userid" => |text| parsed::<crate::UserId>(text),
        "pve-vlan-id-or-range" => net::vlan,
        "pve-vmid" => |text| parsed::<crate::Vmid>(text),
        "pve-volume-id" => |text| parsed::<crate::VolumeId>(text),
        "storage-pair" => |text| ids::pair(text, parsed::<crate::StorageId>),
        _ => return None,
    })
}

/// The rule of a type of ours, whose message is PVE's.
fn parsed<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests;
