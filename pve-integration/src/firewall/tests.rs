use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::layout::Root;

const FILE: &str = "[OPTIONS]\n\nenable: 1\nlog_level_in: nolog\npolicy_in: DROP\n\n\
    [ALIASES]\n\nv6 2001:db8::/64\nWeb 10.0.0.5 # the web server\n\n\
    [IPSET friends] # ours\n\n10.0.0.0/8 # all\n!10.0.0.9\nweb\n\n\
    [RULES]\n\nIN SSH(ACCEPT) -i net0 -source +friends -log info # from home\n\
    |OUT DROP -source web -dest 10.1.0.0/16 -p tcp -dport 80,443 -sport 1024:65535\n\
    IN ACCEPT -p icmp -icmp-type echo-request\nGROUP office -i net0\n\n";

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), &Firewall::default())
}

fn params(value: &serde_json::Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn reads_and_writes_what_pve_wrote() {
    let parsed = read(FILE);

    assert_eq!(parsed.warnings, []);
    assert_eq!(parsed.firewall.to_text().unwrap(), FILE);
    assert!(parsed.firewall.is_enabled());
    let rule = &parsed.firewall.rules[1];
    assert_eq!((rule.enable, rule.kind.as_str(), rule.ipversion), (Some(0), "out", Some(4)));
    assert_eq!(parsed.firewall.rules[0].get("macro"), Some("SSH"));
    assert_eq!(parsed.firewall.rules[0].get("comment"), Some("from home"));
}

/// Sums made with Perl's Digest::SHA over the same lists.
#[test]
fn digests_as_pve() {
    let empty = Firewall::default();
    for digest in [empty.rules_digest(), empty.options_digest(), empty.aliases_digest()] {
        assert_eq!(digest, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }
    let parsed = read("[RULES]\nIN ACCEPT -p tcp -dport 22 # é\n").firewall;
    let text = "action:ACCEPT\ncomment:é\ndport:22\nenable:1\nproto:tcp\ntype:in\n";
    assert_eq!(parsed.rules_digest(), hex::encode(Sha1::digest(text)));
}

#[rstest]
#[case::no_section("enable: 1\n", 1, "skip line - no section")]
#[case::option("[OPTIONS]\nfoo: 1\n", 2, "can't parse option 'foo: 1'")]
#[case::rule("[RULES]\nIN\n", 2, "unable to parse rule: IN")]
#[case::parameters("[RULES]\nIN DROP -x y\n", 2, "unable to parse rule parameters: -x y")]
#[case::level("[RULES]\nIN DROP -log error\n", 2, "unable to parse rule parameters: or")]
#[case::set("[IPSET 1x]\n", 1, "invalid ipset name '1x'")]
#[case::alias("[ALIASES]\nx y\n", 2, "value does not look like a valid IP address or CIDR network")]
#[case::mixed(
    "[ALIASES]\nfour 1.2.3.4\n[RULES]\nIN DROP -source ::1 -dest four\n",
    4,
    "detected mixed ipv4/ipv6 addresses in rule"
)]
fn tells_what_it_left_out(#[case] text: &str, #[case] line: usize, #[case] warning: &str) {
    let parsed = read(text);

    assert_eq!(parsed.warnings, [(line, warning.to_owned())]);
    assert_eq!(parsed.firewall.rules, []);
}

#[test]
fn keeps_wrong_rules_and_entries_with_what_is_wrong() {
    let parsed =
        read("[IPSET se]\n0.0.0.0/0\n1.2.3.4/32\n1.2.3.4\nnone\n\n[RULES]\nIN JUMP -dport 22\n");

    let rule = &parsed.firewall.rules[0];
    assert_eq!(rule.errors["action"], "unknown action 'JUMP'");
    assert_eq!(rule.errors["proto"], "missing property - 'dport' requires this property");
    assert_eq!(rule.errors["dport"], "protocol '' does not support ports");
    let errors: Vec<_> = parsed.firewall.ipsets["se"]
        .entries
        .iter()
        .map(|entry| entry.errors.get("cidr").map(String::as_str))
        .collect();
    let expected = [
        Some("a zero prefix is not allowed in ipset entries\n"),
        None,
        Some("duplicate ipset entry for '1.2.3.4'"),
        Some("no such alias 'none'"),
    ];
    assert_eq!(errors, expected);
}

#[rstest]
#[case(json!({"type": "forward", "action": "DROP"}), "type",
    "invalid rule type 'forward' for rule_env 'ct'")]
#[case(json!({"type": "in", "action": "JUMP"}), "action", "unknown action 'JUMP'")]
#[case(json!({"type": "in", "action": "DROP", "iface": "eth0"}), "iface",
    "value does not match the regex pattern 'net\\d+'")]
#[case(json!({"type": "in", "action": "DROP", "macro": "Nope"}), "macro", "unknown macro 'Nope'")]
#[case(json!({"type": "in", "action": "DROP", "dport": "22"}), "proto",
    "missing property - 'dport' requires this property")]
#[case(json!({"type": "in", "action": "DROP", "dport": "22", "proto": "esp"}), "dport",
    "protocol 'esp' does not support ports")]
#[case(json!({"type": "in", "action": "DROP", "icmp-type": "any"}), "proto",
    "missing property - 'icmp-type' requires this property")]
#[case(json!({"type": "in", "action": "DROP", "icmp-type": "no-route", "proto": "icmp"}),
    "icmp-type", "invalid icmp-type 'no-route' for proto 'icmp'")]
#[case(json!({"type": "in", "action": "DROP", "source": "+none"}), "source", "no such ipset 'none'")]
#[case(json!({"type": "in", "action": "DROP", "dest": "dc/none"}), "dest", "no such alias 'dc/none'")]
#[case(json!({"type": "in", "action": "DROP", "source": "::1", "dest": "10.0.0.1"}), "dest",
    "detected mixed ipv4/ipv6 addresses in rule")]
#[case(json!({"type": "in", "action": "DROP", "macro": "ssh", "proto": "tcp", "dport": "23"}),
    "dport", "parameter 'dport' already define in macro (value = '22')")]
#[case(json!({"type": "in", "action": "DROP", "proto": "zz"}), "proto", "unknown protocol 'zz'")]
fn refuses_a_rule(#[case] rule: Value, #[case] property: &str, #[case] message: &str) {
    let mut firewall = Firewall::default();

    let refused = firewall.add_rule(&Firewall::default(), &params(&rule)).unwrap_err();

    let FirewallError::Param { name, text } = refused else { panic!("{refused}") };
    assert_eq!((name.as_str(), text.as_str()), (property, message));
    assert_eq!(firewall, Firewall::default());
}

#[test]
fn new_rules_come_first_and_move() {
    let (mut firewall, cluster) = (Firewall::default(), Firewall::default());
    firewall.is_there = true;
    for comment in ["c", "b", "a"] {
        let rule = json!({"type": "in", "action": "DROP", "comment": comment});
        firewall.add_rule(&cluster, &params(&rule)).unwrap();
    }
    let order = |firewall: &Firewall| -> String {
        firewall.rules.iter().filter_map(|rule| rule.get("comment")).collect()
    };
    assert_eq!((order(&firewall).as_str(), firewall.rules[0].enable), ("abc", Some(0)));

    for (pos, to, expected) in [(0, 2, "bac"), (0, 9, "acb"), (2, 0, "bac"), (1, 2, "bac")] {
        firewall.change_rule(&cluster, pos, &params(&json!({"moveto": to}))).unwrap();
        assert_eq!(order(&firewall), expected, "{pos} to {to}");
    }
    let change = json!({"enable": 1, "comment": "-", "delete": "log"});
    firewall.change_rule(&cluster, 0, &params(&change)).unwrap();
    assert_eq!((firewall.rules[0].enable, firewall.rules[0].get("comment")), (Some(1), None));
    let refused = firewall.change_rule(&cluster, 3, &params(&json!({"enable": 0}))).unwrap_err();
    assert_eq!(refused.to_string(), "no rule at position 3");
    let stale = json!({"enable": 0, "digest": "a".repeat(40)});
    let refused = firewall.change_rule(&cluster, 0, &params(&stale)).unwrap_err();
    assert!(matches!(refused, FirewallError::Modified));
    firewall.remove_rule(0, None).unwrap();
    assert_eq!(order(&firewall), "ac");
}

#[test]
fn names_of_the_data_centre_count() {
    let cluster = parse_cluster(
        b"[OPTIONS]\nenable: 1\n[ALIASES]\nOffice 10.9.0.0/16\n[IPSET all]\noffice\n\
          [group web]\nIN ACCEPT\n[RULES]\nIN foo\n",
    );
    assert_eq!(cluster.warnings, []);
    let cluster = cluster.firewall;
    let parsed = parse(b"[RULES]\nIN DROP -source dc/office -dest +dc/all\n", &cluster);
    assert_eq!(parsed.warnings, []);
    let mut guest = parsed.firewall;
    guest.add_ipset(NewIpSet { name: "s".to_owned(), ..NewIpSet::default() }, None).unwrap();
    let entry = |cidr: &str| IpSetEntry { cidr: cidr.to_owned(), ..IpSetEntry::default() };
    guest.add_entry(&cluster, "s", entry("dc/office")).unwrap();
    let own = guest.add_entry(&cluster, "s", entry("guest/office")).unwrap_err();
    assert_eq!(own.to_string(), "no such alias 'office'");
}

#[test]
fn a_line_break_does_not_begin_a_line_of_the_file() {
    let (mut firewall, cluster) = (Firewall::default(), Firewall::default());
    let rule = json!({"type": "in", "action": "DROP", "comment": "a\nIN ACCEPT"});
    firewall.add_rule(&cluster, &params(&rule)).unwrap();

    let again = read(&firewall.to_text().unwrap()).firewall;

    assert_eq!(again.rules.len(), 1);
    assert_eq!(again.rules[0].get("comment"), Some("a IN ACCEPT"));
}

#[test]
fn what_somebody_else_wrote_is_not_dropped_silently() {
    let mut parsed = read("[RULES]\nFOO BAR\nIN DROP\n").firewall;

    assert_eq!(parsed.rules[0].errors["type"], "invalid rule type 'foo' for rule_env 'ct'");
    parsed.remove_rule(1, None).unwrap();
    assert_eq!(parsed.to_text().unwrap_err().to_string(), "unknown rule type 'foo'");
}

#[test]
fn a_file_comes_and_goes_with_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    let (one, two) = ("100".parse().unwrap(), "200".parse().unwrap());
    let file = |vmid: &str| dir.path().join(format!("etc/pve/firewall/{vmid}.fw"));
    let alias =
        AliasChange { name: "Web".into(), cidr: "10.0.0.5".into(), ..AliasChange::default() };

    edit(&root, one, |_, guest| guest.add_alias(&alias)).unwrap();
    assert_eq!(fs_err::read_to_string(file("100")).unwrap(), "[ALIASES]\n\nWeb 10.0.0.5\n\n");
    copy(&root, one, two).unwrap();
    assert_eq!(load(&root, two).unwrap().guest.alias("WEB").unwrap().ipversion, Some(4));
    edit(&root, one, |_, guest| guest.remove_alias("web", None)).unwrap();
    assert!(!file("100").exists());
    copy(&root, one, two).unwrap();
    assert!(!file("200").exists());
    remove(&root, two).unwrap();
}

proptest! {
    /// Whatever is read is written so that it is read again as the same.
    #[test]
    fn reads_what_it_writes(lines in proptest::collection::vec(line(), 0..20)) {
        let parsed = read(&lines.join("\n"));
        let Ok(text) = parsed.firewall.to_text() else { return Ok(()) };
        let again = read(&text).firewall;

        // Entries are sorted, and of two for the same address one is written.
        prop_assert_eq!(again.to_text().unwrap(), text);
        prop_assert_eq!(again.options, parsed.firewall.options);
        prop_assert_eq!(again.rules.len(), parsed.firewall.rules.len());
    }

    #[test]
    fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse(&bytes, &Firewall::default());
        parse_cluster(&bytes);
    }
}

fn line() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        Just("[OPTIONS]".to_owned()),
        Just("[ALIASES]".to_owned()),
        Just("[RULES]".to_owned()),
        "\\[IPSET [a-z]{2,4}\\]( # [a-z]{0,5})?",
    ];
    let words = prop_oneof![
        "(enable|dhcp|foo): [01]",
        "[a-z]{2,4} (10.0.0.[0-9]{1,2}(/[0-9]{1,2})?|::[0-9])( # .{0,8})?",
        "!?(10.0.0.[0-9]|[a-z]{2})( #.{0,8})?",
        "\\|?(IN|OUT|GROUP|FOO) (DROP|SSH\\(ACCEPT\\)|x)( -p (tcp|icmp))?( -dport [0-9]{1,3})?( #.{0,8})?",
        ".{0,20}",
    ];
    prop_oneof![header, words]
}
