//! A container's firewall: what a client sets is in PVE's file, and read back in PVE's types.

use serde_json::{Value, json};
use tests::Daemon;

use super::{ANN, with_guest};

const BASE: &str = "/nodes/pve1/lxc/100/firewall";
/// Of nothing.
const EMPTY: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

fn file(daemon: &Daemon, vmid: u32) -> Option<String> {
    fs_err::read_to_string(daemon.root().join(format!("etc/pve/firewall/{vmid}.fw"))).ok()
}

fn at(rest: &str) -> String {
    format!("{BASE}/{rest}")
}

/// Without the digest, which is a text of 40 digits.
fn plain(mut answer: Value) -> Value {
    let rows = match answer.as_array_mut() {
        Some(rows) => rows.iter_mut().collect(),
        None => vec![&mut answer],
    };
    for row in rows {
        let digest = row.as_object_mut().unwrap().remove("digest").unwrap();
        assert_eq!(digest.as_str().unwrap().len(), 40);
    }
    answer
}

#[test]
fn nothing_is_set_without_a_file() {
    let daemon = with_guest().start();

    let names = json!([
        {"name": "rules"}, {"name": "aliases"}, {"name": "ipset"}, {"name": "refs"}, {"name": "options"}
    ]);
    assert_eq!(daemon.get(BASE).data(), names);
    for list in ["rules", "aliases", "ipset", "refs"] {
        assert_eq!(daemon.get(&at(list)).data(), json!([]), "{list}");
    }
    assert_eq!(daemon.get(&at("options")).data(), json!({"digest": EMPTY}));
    let log = daemon.get(&at("log")).json();
    assert_eq!(log["data"][0]["t"], "unable to open file - No such file or directory");
    assert_eq!(log["total"], 1);
    assert_eq!(daemon.get(&at("rules/0")).line(), "500 no rule at position 0");
    let lines = [
        daemon.put(&at("rules/0"), &[("enable", "1")]).line(),
        daemon.delete(&at("rules/0")).line(),
    ];
    assert_eq!(lines, ["500 Can't use an undefined value as an ARRAY reference"; 2]);
    assert_eq!(daemon.get(&at("aliases/web")).errors(), json!({"name": "no such alias"}));
    assert_eq!(daemon.get(&at("ipset/set")).line(), "500 no such IPSet 'set'");
    daemon.delete(&at("aliases/web")).data();
    assert_eq!(file(&daemon, 100), None);
}

#[test]
fn options_are_set_and_deleted() {
    let daemon = with_guest().start();
    let set = [("enable", "1"), ("policy_in", "DROP"), ("log_level_in", "nolog")];
    assert_eq!(daemon.put(&at("options"), &set).data(), Value::Null);

    let told = daemon.get(&at("options")).data();
    let expected = json!({"enable": 1, "policy_in": "DROP", "log_level_in": "nolog"});
    assert_eq!(plain(told.clone()), expected);
    let text = "[OPTIONS]\n\nenable: 1\nlog_level_in: nolog\npolicy_in: DROP\n\n";
    assert_eq!(file(&daemon, 100).unwrap(), text);

    let stale = [("enable", "0"), ("digest", EMPTY)];
    let refused = daemon.put(&at("options"), &stale);
    let modified = "500 detected modified configuration - file changed by other user? Try again.";
    assert_eq!(refused.line(), modified);
    let unknown = daemon.put(&at("options"), &[("delete", "nope")]);
    assert_eq!(unknown.errors(), json!({"delete": "no such option 'nope'"}));
    let digest = told["digest"].as_str().unwrap();
    let delete = [("delete", "enable,policy_in,log_level_in"), ("digest", digest)];
    daemon.put(&at("options"), &delete).data();
    assert_eq!(file(&daemon, 100), None);
}

#[test]
fn aliases_are_made_renamed_and_deleted() {
    let daemon = with_guest().start();
    let new = [("name", "Web"), ("cidr", "10.0.0.5/32"), ("comment", "the server")];
    daemon.post(&at("aliases"), &new).data();
    let again = daemon.post(&at("aliases"), &[("name", "WEB"), ("cidr", "10.0.0.6")]);
    assert_eq!(again.errors(), json!({"name": "alias 'WEB' already exists"}));
    let wrong = daemon.post(&at("aliases"), &[("name", "x1"), ("cidr", "web")]);
    let message = "invalid format - value does not look like a valid IP address or CIDR network\n";
    assert_eq!(wrong.errors(), json!({"cidr": message}));

    let expected =
        json!({"name": "Web", "cidr": "10.0.0.5", "comment": "the server", "ipversion": 4});
    assert_eq!(daemon.get(&at("aliases/web")).data(), expected);
    assert_eq!(plain(daemon.get(&at("aliases")).data()), json!([expected]));
    let rename = [("cidr", "::1"), ("rename", "Home")];
    daemon.put(&at("aliases/web"), &rename).data();
    assert_eq!(file(&daemon, 100).unwrap(), "[ALIASES]\n\nHome ::1\n\n");
    daemon.delete(&at("aliases/home")).data();
    assert_eq!(file(&daemon, 100), None);
}

#[test]
fn sets_hold_addresses_with_slashes() {
    let daemon = with_guest().start();
    daemon.post(&at("ipset"), &[("name", "friends"), ("comment", "ours")]).data();
    let again = daemon.post(&at("ipset"), &[("name", "friends")]);
    assert_eq!(again.errors(), json!({"name": "IPSet 'friends' already exists"}));
    let listed = daemon.get(&at("ipset")).data();
    assert_eq!(plain(listed), json!([{"name": "friends", "comment": "ours"}]));

    let add = |cidr: &str| daemon.post(&at("ipset/friends"), &[("cidr", cidr), ("nomatch", "1")]);
    add("10.0.0.7/24").data();
    let message = json!({"cidr": "address '10.0.0.0/24' already exists"});
    assert_eq!(add("10.0.0.0/24").errors(), message);
    let message = json!({"cidr": "a zero prefix is not allowed in ipset entries"});
    assert_eq!(add("::/0").errors(), message);
    assert_eq!(add("dc/nobody").line(), "500 no such alias 'nobody'");
    let expected = json!({"cidr": "10.0.0.0/24", "nomatch": 1});
    for path in ["ipset/friends/10.0.0.0/24", "ipset/friends/10.0.0.0%2F24"] {
        assert_eq!(plain(daemon.get(&at(path)).data()), expected);
    }
    let change = [("comment", "all of them")];
    daemon.put(&at("ipset/friends/10.0.0.0/24"), &change).data();
    let text = "[IPSET friends] # ours\n\n10.0.0.0/24 # all of them\n\n";
    assert_eq!(file(&daemon, 100).unwrap(), text);
    let missing = daemon.get(&at("ipset/friends/10.0.0.1"));
    assert_eq!(missing.errors(), json!({"cidr": "no such IP/Network"}));

    assert_eq!(daemon.delete(&at("ipset/friends")).line(), "500 IPSet 'friends' is not empty");
    let rename = [("name", "others"), ("rename", "friends")];
    daemon.post(&at("ipset"), &rename).data();
    let missing = daemon.post(&at("ipset"), &rename);
    assert_eq!(missing.errors(), json!({"name": "IPSet 'friends' does not exist"}));
    daemon.delete(&at("ipset/others/10.0.0.0/24")).data();
    assert_eq!(daemon.get(&at("ipset/others")).data(), json!([]));
    daemon.delete(&at("ipset/others")).data();
    assert_eq!(file(&daemon, 100), None);
}

#[test]
fn rules_are_made_moved_and_deleted() {
    let daemon = with_guest().start();
    let ssh = [
        ("type", "in"),
        ("action", "ACCEPT"),
        ("macro", "ssh"),
        ("enable", "1"),
        ("source", "10.0.0.0/8"),
        ("comment", "über"),
    ];
    daemon.post(&at("rules"), &ssh).data();
    let drop = [("type", "out"), ("action", "DROP"), ("proto", "tcp"), ("dport", "25")];
    daemon.post(&at("rules"), &drop).data();

    let text = "[RULES]\n\n|OUT DROP -p tcp -dport 25\n\
        IN SSH(ACCEPT) -source 10.0.0.0/8 # über\n\n";
    assert_eq!(file(&daemon, 100).unwrap(), text);
    let expected = json!([
        {"pos": 0, "type": "out", "action": "DROP", "enable": 0, "proto": "tcp", "dport": "25"},
        {"pos": 1, "type": "in", "action": "ACCEPT", "enable": 1, "macro": "SSH",
         "source": "10.0.0.0/8", "ipversion": 4, "comment": "über"},
    ]);
    assert_eq!(plain(daemon.get(&at("rules")).data()), expected);
    let one = plain(daemon.get(&at("rules/0")).data());
    assert_eq!((&one["pos"], &one["dport"]), (&json!("0"), &json!("25")));

    daemon.put(&at("rules/0"), &[("moveto", "2")]).data();
    let change = [("delete", "dport,proto"), ("enable", "1"), ("comment", "none out")];
    daemon.put(&at("rules/1"), &change).data();
    let text = "[RULES]\n\nIN SSH(ACCEPT) -source 10.0.0.0/8 # über\nOUT DROP # none out\n\n";
    assert_eq!(file(&daemon, 100).unwrap(), text);
    assert_eq!(daemon.put(&at("rules/2"), &change).line(), "500 no rule at position 2");
    let wrong = daemon.put(&at("rules/0"), &[("delete", "type")]);
    assert_eq!(wrong.errors(), json!({"delete": "unable to delete required property 'type'"}));
    let digest = daemon.get(&at("rules")).data()[0]["digest"].as_str().unwrap().to_owned();
    daemon.delete(&at(&format!("rules/0?digest={digest}"))).data();
    let stale = daemon.delete(&at(&format!("rules/0?digest={digest}")));
    assert!(stale.line().contains("detected modified configuration"), "{}", stale.line());
}

#[test]
fn what_a_rule_names_is_there() {
    let daemon = with_guest()
        .file("etc/pve/firewall/cluster.fw", "[ALIASES]\n\nOffice 10.9.0.0/16 # theirs\n")
        .start();
    daemon.post(&at("ipset"), &[("name", "friends")]).data();
    let refs = json!([
        {"type": "alias", "name": "office", "ref": "office", "scope": "dc", "comment": "theirs"},
        {"type": "ipset", "name": "friends", "ref": "+friends", "scope": "guest"},
    ]);
    assert_eq!(daemon.get(&at("refs")).data(), refs);
    assert_eq!(daemon.get(&at("refs?type=ipset")).data().as_array().unwrap().len(), 1);

    let rule = |source| {
        daemon.post(&at("rules"), &[("type", "in"), ("action", "DROP"), ("source", source)])
    };
    rule("dc/office").data();
    rule("+guest/friends").data();
    assert_eq!(rule("+foes").errors(), json!({"source": "no such ipset 'foes'"}));
    assert_eq!(rule("nowhere").errors(), json!({"source": "no such alias 'nowhere'"}));
    let host = rule("10.0.0.1/8").errors();
    let message = "invalid format - invalid IP address: Invalid prefix \
        00001010000000000000000000000001/8\n";
    assert_eq!(host, json!({"source": message}));
}

#[test]
fn who_may_look_may_not_change() {
    let daemon = with_guest().start();
    let ann = [("Authorization", ANN)];

    let seen = daemon.request_as(&ann, "GET", &at("rules"), &[]);
    assert_eq!(seen.data(), json!([]));
    let alias = [("name", "web"), ("cidr", "10.0.0.1")];
    let refused = daemon.request_as(&ann, "POST", &at("aliases"), &alias);
    assert_eq!(refused.line(), "403 Permission check failed (/vms/100, VM.Config.Network)");
    let refused = daemon.request_as(&ann, "GET", &at("log"), &[]);
    assert_eq!(refused.line(), "403 Permission check failed (/vms/100, VM.Console)");
}

#[test]
fn it_is_copied_and_destroyed_with_its_guest() {
    let config = "hostname: box\nmemory: 256\nostype: unmanaged\nunprivileged: 1\n";
    let daemon = with_guest()
        .file("etc/pve/nodes/pve1/lxc/101.conf", config)
        .file("etc/pve/firewall/101.fw", "[OPTIONS]\n\n# kept\nenable: 1\n")
        .file("etc/pve/firewall/200.fw", "[OPTIONS]\n\nenable: 0\n")
        .start();

    daemon.task(&daemon.post("/nodes/pve1/lxc/101/clone", &[("newid", "200")])).ok();
    assert_eq!(file(&daemon, 200), file(&daemon, 101));
    daemon.task(&daemon.delete("/nodes/pve1/lxc/101")).ok();
    assert_eq!((file(&daemon, 101), file(&daemon, 200).is_some()), (None, true));
}
