//! `/etc/network/interfaces` of Debian, Devuan, old Ubuntu and Alpine. Only the stanzas of our own
//! interfaces are written anew; options that somebody added to one of them stay.

use std::collections::BTreeMap;
use std::io;

use super::draft::Draft;
use super::interface::{Interface, V4, V6};

const PATH: &str = "/etc/network/interfaces";
const BEGIN: &str = "# --- BEGIN PVE ---";
const END: &str = "# --- END PVE ---";
/// What we say ourselves of a static address.
const OWN_OPTIONS: [&str; 4] = ["address", "netmask", "gateway", "broadcast"];

/// `cidr`: an address with its prefix is understood, so no netmask is needed.
pub(super) fn write(draft: &mut Draft<'_>, interfaces: &[Interface], cidr: bool) -> io::Result<()> {
    if let Some(text) = edited(&draft.read(PATH)?.unwrap_or_default(), interfaces, cidr) {
        draft.folder("/etc/network");
        draft.write(PATH, text);
    }
    Ok(())
}

/// busybox's own tools take no IPv6 by DHCP or advertisement; somebody else may.
pub(super) fn without_automatic_v6(interfaces: &[Interface]) -> Vec<Interface> {
    let plain = |interface: &Interface| {
        let v6 = match interface.v6 {
            Some(V6::Auto | V6::Dhcp) => Some(V6::Manual),
            other @ (Some(V6::Manual | V6::Static(_)) | None) => other,
        };
        Interface { v6, ..interface.clone() }
    };
    interfaces.iter().map(plain).collect()
}

/// The file with our stanzas, or `None` if we have none.
fn edited(old: &str, interfaces: &[Interface], cidr: bool) -> Option<String> {
    let ours: BTreeMap<&str, &Interface> = interfaces
        .iter()
        .filter(|i| i.v4.is_some() || i.v6.is_some() || i.gw4.is_some() || i.gw6.is_some())
        .map(|interface| (interface.name.as_str(), interface))
        .collect();
    if ours.is_empty() {
        return None;
    }
    let mut editor = Editor {
        ours,
        cidr,
        text: String::new(),
        auto: Vec::new(),
        done: Vec::new(),
        stanza: None,
    };
    for line in old.lines() {
        editor.take(line);
    }
    editor.close();
    editor.add_missing();
    if !editor.auto.iter().any(|name| name == "lo") {
        let loopback = "auto lo\niface lo inet loopback\niface lo inet6 loopback\n\n";
        editor.text.insert_str(0, loopback);
    }
    Some(editor.text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// One of ours that is being read.
struct Stanza {
    name: String,
    family: Family,
    options: Vec<String>,
}

struct Editor<'a> {
    ours: BTreeMap<&'a str, &'a Interface>,
    cidr: bool,
    text: String,
    auto: Vec<String>,
    done: Vec<(String, Family)>,
    stanza: Option<Stanza>,
}

impl Editor<'_> {
    fn take(&mut self, line: &str) {
        if [BEGIN, END].iter().any(|mark| line.starts_with(mark)) {
            // Only inside a stanza of ours do the marks mean anything.
            if let Some(stanza) = &mut self.stanza {
                stanza.options.push(line.to_owned());
            }
            return;
        }
        if line.starts_with('#') {
            return self.keep(line);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] if self.stanza.is_some() => self.close(),
            [] => self.keep(line),
            ["iface", name, family @ ("inet" | "inet6"), _method] => {
                self.close();
                if !self.ours.contains_key(name) {
                    return self.keep(line);
                }
                let family = if *family == "inet" { Family::V4 } else { Family::V6 };
                self.stanza =
                    Some(Stanza { name: (*name).to_owned(), family, options: Vec::new() });
            }
            ["auto", names @ ..] => {
                self.auto.extend(names.iter().map(|name| (*name).to_owned()));
                self.close();
                self.keep(line);
            }
            [first, ..]
                if first.starts_with("allow-")
                    || ["mapping", "source", "source-directory"].contains(first) =>
            {
                self.close();
                self.keep(line);
            }
            [option, _, ..] => match &mut self.stanza {
                Some(_) if OWN_OPTIONS.contains(option) => {}
                Some(stanza) => stanza.options.push(line.trim_start().to_owned()),
                None => self.keep(line),
            },
            [_] => self.keep(line),
        }
    }

    fn keep(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    /// Write the stanza that ends here.
    fn close(&mut self) {
        let Some(mut stanza) = self.stanza.take() else { return };
        let Some(interface) = self.ours.get(stanza.name.as_str()).copied() else { return };
        let name = &stanza.name;
        if !self.auto.contains(name) {
            self.text += &format!("auto {name}\n");
            self.auto.push(name.clone());
        }
        self.done.push((name.clone(), stanza.family));
        let (family, method, body) = match stanza.family {
            Family::V4 => ("inet", method4(interface), self.body4(interface)),
            Family::V6 => ("inet6", method6(interface), self.body6(interface)),
        };
        let Some(method) = method else { return };
        self.text += &format!("iface {name} {family} {method}\n");
        if let Some(body) = body {
            self.text += &body;
            drop_routes(&mut stanza.options);
            for option in &stanza.options {
                self.text += &format!("\t{option}\n");
            }
        }
        self.text.push('\n');
    }

    fn body4(&self, interface: &Interface) -> Option<String> {
        let cidr = interface.static4()?;
        let mut body = if self.cidr {
            format!("\taddress {cidr}\n")
        } else {
            format!("\taddress {}\n\tnetmask {}\n", cidr.address, cidr.netmask())
        };
        if let Some(gw) = interface.far_gw4() {
            body += &routes(&interface.name, &gw.to_string());
        } else if let Some(gw) = interface.gw4 {
            body += &format!("\tgateway {gw}\n");
        }
        Some(body)
    }

    fn body6(&self, interface: &Interface) -> Option<String> {
        let cidr = interface.static6()?;
        let mut body = if self.cidr {
            format!("\taddress {cidr}\n")
        } else {
            format!("\taddress {}\n\tnetmask {}\n", cidr.address, cidr.prefix)
        };
        if let Some(gw) = interface.far_gw6() {
            body += &routes(&interface.name, &gw.to_string());
        } else if let Some(gw) = interface.gw6 {
            body += &format!("\tgateway {gw}\n");
        }
        Some(body)
    }

    fn add_missing(&mut self) {
        let mut separated = self.text.is_empty() || self.text.ends_with("\n\n");
        let ours: Vec<&Interface> = self.ours.values().copied().collect();
        for interface in ours {
            let wanted =
                [(Family::V4, interface.v4.is_some()), (Family::V6, interface.v6.is_some())];
            for (family, wanted) in wanted {
                let name = interface.name.clone();
                if !wanted || self.done.contains(&(name.clone(), family)) {
                    continue;
                }
                if !separated {
                    self.text.push('\n');
                    separated = true;
                }
                self.stanza = Some(Stanza { name, family, options: Vec::new() });
                self.close();
            }
        }
    }
}

fn method4(interface: &Interface) -> Option<&'static str> {
    interface.v4.map(|v4| match v4 {
        V4::Dhcp => "dhcp",
        V4::Manual => "manual",
        V4::Static(_) => "static",
    })
}

fn method6(interface: &Interface) -> Option<&'static str> {
    interface.v6.map(|v6| match v6 {
        V6::Auto => "auto",
        V6::Dhcp => "dhcp",
        V6::Manual => "manual",
        V6::Static(_) => "static",
    })
}

/// A gateway outside the interface's network, which ifupdown refuses as `gateway`.
fn routes(name: &str, gw: &str) -> String {
    format!(
        "{BEGIN}\n\
         \tpost-up ip route add {gw} dev {name}\n\
         \tpost-up ip route add default via {gw} dev {name}\n\
         \tpre-down ip route del default via {gw} dev {name}\n\
         \tpre-down ip route del {gw} dev {name}\n\
         {END}\n"
    )
}

/// Those that were written before: between marks, or, from before there were marks, by their form.
fn drop_routes(options: &mut Vec<String>) {
    let mut marked = false;
    let mut inside = false;
    options.retain(|option| match option.as_str() {
        BEGIN => {
            (marked, inside) = (true, true);
            false
        }
        END => {
            (marked, inside) = (true, false);
            false
        }
        _ => !inside,
    });
    if marked {
        return;
    }
    let mut at = 0;
    while at + 4 <= options.len() {
        if is_old_block(&options[at..at + 4]) {
            options.drain(at..at + 4);
        } else {
            at += 1;
        }
    }
}

fn is_old_block(lines: &[String]) -> bool {
    let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let first = words(&lines[0]);
    let [_, _, _, _, gw, _, name] = first.as_slice() else { return false };
    let expected = [
        format!("post-up ip route add {gw} dev {name}"),
        format!("post-up ip route add default via {gw} dev {name}"),
        format!("pre-down ip route del default via {gw} dev {name}"),
        format!("pre-down ip route del {gw} dev {name}"),
    ];
    lines.iter().zip(&expected).all(|(line, expected)| words(line).join(" ") == *expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ct_config::Net;

    fn interfaces(values: &[&str]) -> Vec<Interface> {
        let of = |value: &&str| Interface::of("net0", &Net::parse("net0", value).unwrap());
        values.iter().filter_map(|value| of(value).unwrap()).collect()
    }

    const OFF_LINK: &str = "name=eth0,ip=10.0.0.5/32,gw=10.1.0.1,ip6=fd00::5/128,gw6=fd01::1";

    #[test]
    fn keeps_what_is_not_ours() {
        let old = "# made by hand\nsource /etc/network/interfaces.d/*\n\nauto lo\n\
                   iface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\
                   \taddress 192.168.7.7\n\tnetmask 255.255.255.0\n\tgateway 192.168.7.1\n\
                   \tup echo hello\n\nallow-hotplug wg0\niface wg0 inet manual\n\tup wg show\n";
        let new = edited(old, &interfaces(&["name=eth0,ip=10.0.0.5/24,gw=10.0.0.1"]), true);
        let expected = "# made by hand\nsource /etc/network/interfaces.d/*\n\nauto lo\n\
                        iface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\
                        \taddress 10.0.0.5/24\n\tgateway 10.0.0.1\n\tup echo hello\n\n\
                        allow-hotplug wg0\niface wg0 inet manual\n\tup wg show\n";
        assert_eq!(new.unwrap(), expected);
    }

    #[test]
    fn replaces_the_routes_of_an_older_version() {
        let old = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress 1.1.1.1\n\
                   \tpost-up ip route add 10.9.0.1 dev eth0\n\
                   \tpost-up ip route add default via 10.9.0.1 dev eth0\n\
                   \tpre-down ip route del default via 10.9.0.1 dev eth0\n\
                   \tpre-down ip route del 10.9.0.1 dev eth0\n\tmtu 1400\n";
        let new = edited(old, &interfaces(&[OFF_LINK]), true).unwrap();
        assert!(!new.contains("10.9.0.1"), "{new}");
        assert!(new.contains("\tmtu 1400\n"), "{new}");
        assert_eq!(new.matches("ip route add 10.1.0.1 dev eth0").count(), 1, "{new}");
    }

    #[test]
    fn has_nothing_to_say_without_addresses() {
        assert_eq!(edited("auto lo\n", &interfaces(&["name=eth0"]), true), None);
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("auto eth0".to_owned()),
            Just("auto lo eth1".to_owned()),
            Just("iface eth0 inet static".to_owned()),
            Just("iface eth0 inet6 auto".to_owned()),
            Just("iface eth9 inet dhcp".to_owned()),
            Just(BEGIN.to_owned()),
            Just(END.to_owned()),
            Just(String::new()),
            "[a-z#]{1,4}( [a-z0-9.]{1,6}){0,2}",
            "\taddress [0-9.]{1,9}",
        ]
    }

    proptest! {
        #[test]
        fn writing_it_twice_changes_nothing_more(
            lines in proptest::collection::vec(line(), 0..12),
            cidr: bool,
        ) {
            let nets = interfaces(&[OFF_LINK, "name=eth1,ip=dhcp,ip6=auto"]);
            // One that is ours appears once: a second would be another address, not a repetition.
            let once = edited(&lines.join("\n"), &nets, cidr).unwrap();
            let twice = edited(&once, &nets, cidr).unwrap();
            let thrice = edited(&twice, &nets, cidr).unwrap();
            prop_assert_eq!(&thrice, &twice);
        }
    }
}
