//! Addresses that a server gives, as a container, its host and the server see them.

mod server;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tests::{Daemon, Guest, eventually, processes_of};

use crate::network::lan::{Lan, inside};
use crate::{BUSYBOX, PATIENT, PRIVILEGED, SMALL, SUBVOL, UNPRIVILEGED, daemon};
use server::{HURRY, OTHER_RANGE, RANGE, RANGE6, Server};

const NET: &str = "name=eth0,bridge=lxcribr0,hwaddr=BC:24:11:00:77:05,ip=dhcp";

fn create<'d>(daemon: &'d Daemon, options: &[(&str, &str)]) -> Guest<'d> {
    let own = [SUBVOL, SMALL, ("entrypoint", PATIENT), ("hostname", "web")];
    daemon.create(100, BUSYBOX, &[&own, options].concat())
}

/// The address on its interface that begins like this, if there is one.
fn address(guest: &Guest<'_>, stem: &str) -> Option<String> {
    let shown = inside(guest, "-o address show eth0");
    let word = shown.split_whitespace().find(|word| word.starts_with(stem))?;
    Some(word.to_owned())
}

/// For how many seconds it is still valid.
fn time_left(guest: &Guest<'_>, stem: &str) -> u32 {
    let shown = inside(guest, "-o address show eth0");
    let line = shown.lines().find(|line| line.contains(stem)).unwrap_or_default();
    let time = line.split("valid_lft ").nth(1).and_then(|rest| rest.split("sec").next());
    time.unwrap().parse().unwrap()
}

fn resolver(guest: &Guest<'_>) -> String {
    fs_err::read_to_string(format!("/proc/{}/root/etc/resolv.conf", guest.oci()["pid"])).unwrap()
}

fn keepers(daemon: &Daemon) -> Vec<i32> {
    let all = processes_of(daemon.root()).into_iter();
    all.filter(|(_, line)| line.contains(" lease --interface")).map(|(pid, _)| pid).collect()
}

fn end(daemon: &Daemon, guest: &Guest<'_>) {
    guest.stop();
    assert_eq!(keepers(daemon), Vec::<i32>::new());
    guest.destroy();
}

#[rstest]
#[case::unprivileged(UNPRIVILEGED)]
#[case::privileged(PRIVILEGED)]
fn an_address_comes_stays_and_is_given_back(#[case] privilege: (&str, &str)) {
    let (mut daemon, lan) = (daemon(), Lan::new(false));
    let routes = "--dhcp-option=121,10.99.0.0/16,10.77.0.1,0.0.0.0/0,10.77.0.1";
    let options = [&HURRY[..], &[RANGE, routes, "--dhcp-option=26,1400"]].concat();
    let server = Server::start(&options);
    let before = {
        let guest = create(&daemon, &[privilege, ("net0", NET)]);
        // A start ends well only when the address is there.
        guest.start();
        let address = address(&guest, "10.77.0.1").expect("no address");
        assert!(address.ends_with("/24"), "{address}");
        let plain = address.strip_suffix("/24").unwrap();
        assert!(lan.reaches(plain), "nobody answers at {plain}");
        assert!(inside(&guest, "link show eth0").contains("mtu 1400"));
        let routes = inside(&guest, "route");
        for route in ["default via 10.77.0.1 dev eth0", "10.99.0.0/16 via 10.77.0.1 dev eth0"] {
            assert!(routes.contains(route), "no {route:?} in:\n{routes}");
        }
        let text = resolver(&guest);
        assert!(text.contains("search lan.test\nnameserver 10.77.0.1\n"), "{text}");
        assert!(server.log().contains(" web\n"), "the server knows no name:\n{}", server.log());
        confined(&daemon, privilege == UNPRIVILEGED);

        server.hears(10, "DHCPACK");
        assert!(time_left(&guest, "10.77.0.1") > 110);
        address
    };

    // It is the container's, not the daemon's.
    daemon.kill();
    server.hears(10, "DHCPACK");
    daemon.launch();
    server.hears(10, "DHCPACK");
    let guest = daemon.guest(100);
    assert_eq!(address(&guest, "10.77.0.1"), Some(before.clone()));
    assert_eq!(server.count("DHCPDISCOVER"), 1, "{}", server.log());

    let given_back = format!("DHCPRELEASE(eth0) {}", before.strip_suffix("/24").unwrap());
    guest.stop();
    assert!(server.log().contains(&given_back), "{}", server.log());
    // The same again, as nobody else has it.
    guest.start();
    assert_eq!(address(&guest, "10.77.0.1"), Some(before));
    end(&daemon, &guest);
}

/// A keeper that strangers talk to has nothing to lose.
#[track_caller]
fn confined(daemon: &Daemon, unprivileged: bool) {
    let [keeper] = keepers(daemon)[..] else { panic!("{:?}", keepers(daemon)) };
    let status = fs_err::read_to_string(format!("/proc/{keeper}/status")).unwrap();
    // Of all capabilities, the twelfth.
    let mut lines = vec!["CapEff:\t0000000000001000", "CapPrm:\t0000000000001000"];
    lines.extend(["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Threads:\t1"]);
    lines.extend(unprivileged.then_some("Uid:\t100000\t100000\t100000\t100000"));
    for line in lines {
        assert!(status.contains(line), "no {line:?} in:\n{status}");
    }
    let root = fs_err::read_dir(format!("/proc/{keeper}/root/")).unwrap();
    assert_eq!(root.count(), 0, "it sees files");
    let open = fs_err::read_dir(format!("/proc/{keeper}/fd")).unwrap();
    assert!(open.count() < 14);
}

#[test]
fn an_address_outlives_a_server_that_comes_back() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let options = [&HURRY[..], &[RANGE]].concat();
    let mut server = Server::start(&options);
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    guest.start();
    let before = address(&guest, "10.77.0.1").expect("no address");

    server.kill();
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(address(&guest, "10.77.0.1").as_ref(), Some(&before));
    server.run(&options);
    // Half of what is left of its two minutes.
    server.hears(80, "DHCPACK");
    assert_eq!(address(&guest, "10.77.0.1"), Some(before));
    eventually(5, "the time of the address", || {
        (time_left(&guest, "10.77.0.1") > 110).then_some(())
    });
    assert_eq!(server.count("DHCPDISCOVER"), 1, "{}", server.log());
    end(&daemon, &guest);
}

#[test]
fn a_server_that_refuses_gives_another_address() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let mut server = Server::start(&[&HURRY[..], &[RANGE]].concat());
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    guest.start();
    assert!(address(&guest, "10.77.0.1").is_some());

    server.kill();
    server.forget();
    let other = ["--dhcp-authoritative", "--dhcp-option=6,10.77.0.9", OTHER_RANGE];
    server.run(&[&HURRY[..], &other].concat());
    let new = eventually(40, "an address of the other range", || address(&guest, "10.77.0.20"));
    assert!(server.count("DHCPNAK") > 0, "{}", server.log());
    assert_eq!(
        inside(&guest, "-4 -o address show eth0").lines().count(),
        1,
        "the old one is there"
    );
    assert!(lan.reaches(new.strip_suffix("/24").unwrap()));
    eventually(5, "the other name server", || {
        resolver(&guest).contains("nameserver 10.77.0.9\n").then_some(())
    });
    end(&daemon, &guest);
}

/// Two minutes are the shortest lease that dnsmasq gives.
#[test]
fn an_address_ends_with_its_lease_and_another_is_sought() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let mut server = Server::start(&[RANGE]);
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    guest.start();
    assert!(time_left(&guest, "10.77.0.1") > 110);

    server.kill();
    eventually(125, "the end of the address", || {
        address(&guest, "10.77.0.1").is_none().then_some(())
    });
    assert!(!inside(&guest, "route").contains("default"), "a route is left");
    assert_eq!(keepers(&daemon).len(), 1);
    server.run(&[RANGE]);
    eventually(40, "an address again", || address(&guest, "10.77.0.1"));
    assert!(inside(&guest, "route").contains("default via 10.77.0.1"));
    end(&daemon, &guest);
}

#[test]
fn a_start_without_a_server_warns_and_goes_on_trying() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    let task = guest.task("start", &[]);
    assert_eq!(task.exitstatus, "WARNINGS: 1", "{}", task.log);
    assert!(task.log.contains("net0: DHCP failed - "), "{}", task.log);
    assert_eq!(guest.status(), "running");

    let _server = Server::start(&[RANGE]);
    eventually(70, "an address", || address(&guest, "10.77.0.1"));
    end(&daemon, &guest);
}

#[test]
fn a_keeper_ends_with_its_monitor() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let server = Server::start(&[RANGE]);
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    guest.start();
    assert_eq!(keepers(&daemon).len(), 1);
    let all = processes_of(daemon.root());
    let monitor = all.iter().find(|(_, line)| line.contains(" run ")).expect("no monitor").0;
    kill_process(Pid::from_raw(monitor).unwrap(), Signal::KILL).unwrap();
    eventually(10, "the end of the keeper", || keepers(&daemon).is_empty().then_some(()));
    assert!(server.count("DHCPRELEASE") > 0, "{}", server.log());
    eventually(30, "the end of the container", || (guest.status() == "stopped").then_some(()));
    guest.destroy();
}

#[test]
fn a_keeper_that_is_killed_leaves_no_address_for_ever() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let server = Server::start(&[RANGE]);
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", NET)]);
    guest.start();
    for keeper in keepers(&daemon) {
        kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    }
    // The kernel has its time, too.
    assert!((1..=120).contains(&time_left(&guest, "10.77.0.1")));
    // The next one asks for the same, without looking for servers first.
    let before = address(&guest, "10.77.0.1");
    guest.stop();
    guest.start();
    assert_eq!(address(&guest, "10.77.0.1"), before);
    assert_eq!(server.count("DHCPDISCOVER"), 1, "{}", server.log());
    end(&daemon, &guest);
}

#[test]
fn an_ipv6_address_comes_from_a_server() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let server = Server::start(&[RANGE6, "--enable-ra"]);
    let net = "name=eth0,bridge=lxcribr0,hwaddr=BC:24:11:00:77:05,ip6=dhcp";
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", net)]);
    guest.start();
    let address = address(&guest, "fd77::1").expect("no address");
    assert!(address.ends_with("/128"), "{address}");
    assert!(lan.reaches(address.strip_suffix("/128").unwrap()));
    assert!(time_left(&guest, "fd77::1") > 100);
    eventually(30, "a default route", || {
        inside(&guest, "-6 route").contains("default via fe80::").then_some(())
    });
    assert!(resolver(&guest).contains("nameserver fd77::1\n"), "{}", resolver(&guest));
    guest.stop();
    assert!(server.count("DHCPRELEASE") > 0, "{}", server.log());
    guest.destroy();
}

#[test]
fn an_ipv6_address_is_made_of_what_a_router_says() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let _server = Server::start(&["--dhcp-range=fd77::,ra-only,64,120", "--enable-ra"]);
    let net = "name=eth0,bridge=lxcribr0,hwaddr=BC:24:11:00:77:05,ip6=auto";
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", net)]);
    guest.start();
    let own = "fd77::be24:11ff:fe00:7705/64";
    eventually(20, "an address", || (address(&guest, "fd77::")? == own).then_some(()));
    assert!(lan.reaches("fd77::be24:11ff:fe00:7705"));
    guest.stop();
    guest.destroy();
}

/// Each has its own time; what came by DHCP stands before them.
#[test]
fn name_servers_and_domains_come_from_a_router() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let names = ["--dhcp-option=option6:dns-server,[fd77::53]", "--ra-param=eth0,4,60"];
    let range = "--dhcp-range=fd77::,ra-only,64,120";
    let options =
        [&[range, "--enable-ra", "--dhcp-option=option6:domain-search,six.test"], &names[..]]
            .concat();
    let mut server = Server::start(&options);
    let net = NET.replace("ip=dhcp", "ip6=auto");
    let guest = create(&daemon, &[UNPRIVILEGED, ("net0", &net)]);
    guest.start();
    let begins =
        |text: &str| text.starts_with("# lease of eth0\nsearch six.test\nnameserver fd77::53\n");
    eventually(20, "the name server", || begins(&resolver(&guest)).then_some(()));
    confined(&daemon, true);

    server.kill();
    server.run(
        &[&options[..3], &[RANGE, "--dhcp-option=option6:dns-server,[fd77::54]", names[1]]]
            .concat(),
    );
    let more = |text: &str| text.contains("nameserver fd77::53\nnameserver fd77::54\n");
    eventually(20, "another name server", || more(&resolver(&guest)).then_some(()));
    let both = net.replace("ip6=auto", "ip=dhcp,ip6=auto");
    assert_eq!(guest.put_config(&[("net0", &both)]).status, 200);
    let merged = "search lan.test six.test\nnameserver 10.77.0.1\nnameserver fd77::54\n";
    eventually(20, "both kinds", || resolver(&guest).contains(merged).then_some(()));
    end(&daemon, &guest);
}

#[test]
fn a_name_server_of_the_config_is_not_replaced() {
    let (daemon, _lan) = (daemon(), Lan::new(false));
    let _server = Server::start(&[RANGE]);
    let names = [("nameserver", "10.77.0.53"), ("searchdomain", "own.test")];
    let guest = create(&daemon, &[&[UNPRIVILEGED, ("net0", NET)], &names[..]].concat());
    guest.start();
    assert!(address(&guest, "10.77.0.1").is_some());
    let text = resolver(&guest);
    assert!(text.contains("nameserver 10.77.0.53") && text.contains("search own.test"), "{text}");
    assert!(!text.contains("10.77.0.1\n"), "{text}");
    end(&daemon, &guest);
}

#[test]
fn a_lease_comes_and_goes_while_the_container_runs() {
    let (daemon, lan) = (daemon(), Lan::new(false));
    let server = Server::start(&[RANGE]);
    let guest = create(&daemon, &[UNPRIVILEGED]);
    guest.start();
    let put = |parameters: &[(&str, &str)]| {
        let reply = guest.put_config(parameters);
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    };

    put(&[("net0", NET)]);
    let leased = eventually(10, "an address", || address(&guest, "10.77.0.1"));
    assert!(lan.reaches(leased.strip_suffix("/24").unwrap()));
    put(&[("net0", &NET.replace("ip=dhcp", "ip=10.77.0.9/24"))]);
    eventually(10, "the release", || (server.count("DHCPRELEASE") > 0).then_some(()));
    eventually(10, "the fixed address", || address(&guest, "10.77.0.9"));
    assert_eq!(inside(&guest, "-4 -o address show eth0").lines().count(), 1);
    assert!(keepers(&daemon).is_empty());
    put(&[("net0", NET)]);
    eventually(10, "the address again", || address(&guest, "10.77.0.1"));
    put(&[("delete", "net0")]);
    eventually(10, "the end of the keeper", || keepers(&daemon).is_empty().then_some(()));
    end(&daemon, &guest);
}
