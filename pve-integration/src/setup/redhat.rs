//! Red Hat's family: network scripts up to release 9, NetworkManager's profiles from 10 on, and where
//! its init wants the host's name.

use std::io;
use std::net::IpAddr;

use sha1::{Digest as _, Sha1};

use super::Settings;
use super::draft::Draft;
use super::interface::{Interface, V4, V6};
use super::section::Where;

const SCRIPTS: &str = "/etc/sysconfig/network-scripts";
const PROFILES: &str = "/etc/NetworkManager/system-connections";
const NETWORK: &str = "/etc/sysconfig/network";

/// The same at each start, so that nothing is written in vain.
fn uuid(interface: &Interface) -> uuid::Uuid {
    let hash = Sha1::digest(format!("proxmox-lxcri {}", interface.name));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

pub(super) fn network_scripts(draft: &mut Draft<'_>, settings: &Settings) -> io::Result<()> {
    draft.folder(SCRIPTS);
    for interface in &settings.interfaces {
        let name = &interface.name;
        let Some(text) = script(interface, settings) else { continue };
        draft.write(&format!("{SCRIPTS}/ifcfg-{name}"), text);
        let far = |gw: Option<String>| {
            gw.map_or_else(String::new, |gw| {
                format!("{gw} dev {name}\ndefault via {gw} dev {name}\n")
            })
        };
        let routes = far(interface.far_gw4().map(|gw| gw.to_string()));
        draft.section_or_none(&format!("{SCRIPTS}/route-{name}"), &routes, Where::Prepend)?;
        let routes = far(interface.far_gw6().map(|gw| gw.to_string()));
        draft.section_or_none(&format!("{SCRIPTS}/route6-{name}"), &routes, Where::Prepend)?;
    }
    let Some(mut text) = draft.read(NETWORK)? else { return Ok(()) };
    let has = |is: fn(&Interface) -> bool| settings.interfaces.iter().any(is);
    if has(|interface| interface.v4.is_some()) {
        text = with_assignment(&text, "NETWORKING", "yes");
    }
    if has(|interface| interface.v6.is_some()) {
        text = with_assignment(&text, "NETWORKING_IPV6", "yes");
    }
    draft.write(NETWORK, text);
    Ok(())
}

fn script(interface: &Interface, settings: &Settings) -> Option<String> {
    let mut data = String::new();
    let mut protocol = "";
    match interface.v4 {
        Some(V4::Dhcp) => protocol = "dhcp",
        Some(V4::Static(cidr)) => {
            protocol = "none";
            data += &format!("IPADDR={}\nNETMASK={}\n", cidr.address, cidr.netmask());
            if let Some(gw) = interface.gw4 {
                data += &format!("GATEWAY={gw}\n");
            }
        }
        Some(V4::Manual) | None => {}
    }
    if interface.v6.is_some_and(|v6| v6 != V6::Manual) {
        protocol = if protocol.is_empty() { "none" } else { protocol };
        data += "IPV6INIT=yes\n";
    }
    match interface.v6 {
        Some(V6::Auto) => data += "IPV6_AUTOCONF=yes\n",
        Some(V6::Dhcp) => data += "DHCPV6C=yes\n",
        Some(V6::Static(cidr)) => {
            data += &format!("IPV6ADDR={cidr}\nIPV6_AUTOCONF=no\n");
            if let (Some(gw), None) = (interface.gw6, interface.far_gw6()) {
                data += &format!("IPV6_DEFAULTGW={gw}\n");
            }
        }
        Some(V6::Manual) | None => {}
    }
    for (at, server) in settings.servers.iter().enumerate() {
        data += &format!("DNS{}={server}\n", at + 1);
    }
    if !settings.search.is_empty() {
        // More than one is more than one word, and the file is a shell's.
        let domains = settings.search.join(" ");
        data += &format!("DOMAIN={}\n", shell_words::quote(&domains));
    }
    if data.is_empty() && protocol.is_empty() {
        return None;
    }
    let (name, uuid) = (&interface.name, uuid(interface));
    Some(format!("DEVICE={name}\nONBOOT=yes\nUUID={uuid}\nBOOTPROTO={protocol}\n{data}"))
}

pub(super) fn network_manager(draft: &mut Draft<'_>, settings: &Settings) {
    draft.folder(PROFILES);
    for interface in &settings.interfaces {
        let path = format!("{PROFILES}/{}.nmconnection", interface.name);
        // It ignores one that others may read.
        draft.put(&path, profile(interface, settings), Some(0o600));
    }
}

fn profile(interface: &Interface, settings: &Settings) -> String {
    let (name, uuid) = (&interface.name, uuid(interface));
    let mut text = format!(
        "[connection]\nid={name}\nuuid={uuid}\ntype=ethernet\ninterface-name={name}\n[ipv4]\n"
    );
    let dns = |wanted: fn(&IpAddr) -> bool| {
        let is = |server: &&String| server.parse().is_ok_and(|ip| wanted(&ip));
        let servers: Vec<_> = settings.servers.iter().filter(is).map(String::as_str).collect();
        match (servers.is_empty(), settings.search.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!("dns={}\n", servers.join(";")),
            (false, false) => {
                format!("dns={}\ndns-search={}\n", servers.join(";"), settings.search.join(";"))
            }
        }
    };
    match interface.v4 {
        Some(V4::Dhcp) => text += "method=auto\n",
        Some(V4::Static(cidr)) => {
            text += &format!("method=manual\naddresses={cidr}\n");
            if let Some(gw) = interface.gw4 {
                text += &format!("gateway={gw}\n");
            }
            if let Some(gw) = interface.far_gw4() {
                text += &format!("routes={gw}\n");
            }
        }
        Some(V4::Manual) | None => text += "method=disabled\n",
    }
    if interface.v4.is_some_and(|v4| v4 != V4::Manual) {
        text += &dns(IpAddr::is_ipv4);
    }
    text += "[ipv6]\n";
    match interface.v6 {
        Some(V6::Auto | V6::Dhcp) => text += "method=auto\n",
        Some(V6::Static(cidr)) => {
            text += &format!("method=manual\naddresses={cidr}\n");
            if let Some(gw) = interface.gw6 {
                text += &format!("gateway={gw}\n");
            }
            if let Some(gw) = interface.far_gw6() {
                text += &format!("routes={gw}\n");
            }
        }
        Some(V6::Manual) | None => text += "method=disabled\n",
    }
    if interface.v6.is_some_and(|v6| v6 != V6::Manual) {
        text += &dns(IpAddr::is_ipv6);
    }
    text
}

/// Where the whole name is wanted.
pub(super) fn host_name(draft: &mut Draft<'_>, hostname: &str) -> io::Result<()> {
    if let Some(text) = draft.read(NETWORK)? {
        draft.write(NETWORK, with_assignment(&text, "HOSTNAME", hostname));
    }
    Ok(())
}

fn with_assignment(text: &str, name: &str, value: &str) -> String {
    let new = format!("{name}={value}");
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.trim_end_matches('\n').split('\n').filter(|_| !text.trim().is_empty()) {
        let is = line.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        found |= is;
        lines.push(if is { &new } else { line });
    }
    if !found {
        lines.push(&new);
    }
    lines.join("\n") + "\n"
}

/// Release 6 and older: upstart without a job for the terminals, and an udev that has nothing to do.
pub(super) fn old_template(draft: &mut Draft<'_>) -> io::Result<()> {
    draft.folder("/etc/init");
    let path = "/etc/init/tty.conf";
    let text = match draft.read(path)? {
        Some(text) => {
            let line = |line: &str| match line.strip_prefix("exec /sbin/mingetty ") {
                Some(rest) if !rest.contains("--nohangup") => {
                    format!("exec /sbin/mingetty --nohangup {rest}\n")
                }
                Some(_) | None => format!("{line}\n"),
            };
            text.lines().map(line).collect()
        }
        None => "# A login on one terminal.\nstop on runlevel [S016]\nrespawn\ninstance $TTY\n\
                 exec /sbin/mingetty --nohangup $TTY\nusage 'tty TTY=/dev/ttyX'\n"
            .to_owned(),
    };
    draft.write(path, text);
    let path = "/etc/init/start-ttys.conf";
    if !draft.has_file(path) {
        draft.write(
            path,
            "# A login on each terminal.\nstart on stopped rc RUNLEVEL=[2345]\n\
             env ACTIVE_CONSOLES=/dev/tty[1-6]\ntask\nscript\n    . /etc/sysconfig/init\n\
             \x20   for tty in $(echo $ACTIVE_CONSOLES); do\n\
             \x20       initctl start tty TTY=$tty\n    done\nend script\n",
        );
    }
    let path = "/etc/init/power-status-changed.conf";
    if !draft.has_file(path) {
        draft.write(
            path,
            "# The signal that asks a container to end.\nstart on power-status-changed\n\
             exec /sbin/shutdown -h now \"asked from outside\"\n",
        );
    }
    let path = "/etc/rc.d/rc.sysinit";
    if let Some(text) = draft.read(path)? {
        let line = |line: &str| {
            let off = if line.starts_with("/sbin/start_udev") { "#" } else { "" };
            format!("{off}{line}\n")
        };
        draft.write(path, text.lines().map(line).collect::<String>());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::with_assignment;

    #[rstest]
    #[case("", "A=x\n")]
    #[case("B=1", "B=1\nA=x\n")]
    #[case("A=1\nB=2\n", "A=x\nB=2\n")]
    #[case("AA=1\n", "AA=1\nA=x\n")]
    fn assigns(#[case] old: &str, #[case] new: &str) {
        assert_eq!(with_assignment(old, "A", "x"), new);
    }
}
