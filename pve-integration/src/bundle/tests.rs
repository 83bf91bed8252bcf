//! One snapshot for each config in the corpus: together they specify the conversion.

mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::host::{AppArmor, CgroupVersion, Mode};

#[test]
fn terminals_come_by_number() {
    let config = ContainerConfig::parse(MINIMAL.as_bytes());
    let ttys = ["/dev/pts/7".to_owned(), "/dev/pts/9".to_owned()];
    let bundle =
        spec(&Guest { ttys: &ttys, ..Guest::for_tests(&config) }, &HostFacts::for_tests()).unwrap();
    let mounts = bundle.spec.mounts().as_ref().unwrap();
    let tty2 = mounts.iter().find(|mount| mount.destination() == Path::new("/dev/tty2")).unwrap();
    assert_eq!(tty2.source().as_deref(), Some(Path::new("/dev/pts/9")));
}

fn convert(text: &str, facts: &HostFacts) -> Result<Bundle, BundleError> {
    spec(&Guest::for_tests(&ContainerConfig::parse(text.as_bytes())), facts)
}

fn v1() -> HostFacts {
    let mut facts = HostFacts::for_tests();
    facts.cgroup.version = CgroupVersion::V1;
    facts
}

const MINIMAL: &str = "arch: amd64\nostype: debian\nrootfs: local:100/x.raw,size=4G\n";

pub(super) fn with(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

#[rstest]
fn converts(#[files("tests/bundle/*.conf")] path: PathBuf) {
    let text = fs_err::read_to_string(&path).unwrap();
    let facts = if text.contains("cgroup v1") { v1() } else { HostFacts::for_tests() };

    let bundle = convert(&text, &facts).unwrap();

    let name = path.file_stem().unwrap().to_string_lossy();
    let warnings: Vec<_> =
        bundle.warnings.iter().map(|w| format!("WARN: {}: {}\n", w.key, w.reason)).collect();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        let limits: Vec<_> =
            bundle.limits.iter().map(|limit| format!("{} = {}\n", limit.file, limit.value)).collect();
        let parts = [warnings.concat(), limits.concat(), to_json(&bundle.spec)];
        insta::assert_snapshot!(parts.concat());
    });
}

#[rstest]
#[case::little_memory("memory: 8", "memory", "value must have a minimum value of 16")]
#[case::odd_memory("memory: lots", "memory", "type check ('integer') failed - got 'lots'")]
#[case::no_cores("cores: 0", "cores", "value must have a minimum value of 1")]
#[case::negative_limit("cpulimit: -1", "cpulimit", "value must be from 0 to 8192")]
#[case::open_quote("entrypoint: /bin/sh -c 'x", "entrypoint", "missing closing quote")]
#[case::no_program("entrypoint: ''", "entrypoint", "names no program")]
#[case::odd_id("lxc.init.uid: bob", "lxc.init.uid", "'bob' is not an id")]
#[case::relative_cwd("lxc.init.cwd: tmp", "lxc.init.cwd", "is not absolute")]
#[case::odd_signal("lxc.signal.halt: SIGFOO", "lxc.signal.halt", "'SIGFOO' is not a signal")]
#[case::odd_capability("lxc.cap.drop: sys_foo", "lxc.cap.drop", "there is no capability 'sys_foo'")]
#[case::odd_variable("lxc.environment: FOO", "lxc.environment", "'FOO' is not NAME=value")]
#[case::short_map(
    "lxc.idmap: u 0 1",
    "lxc.idmap",
    "'u 0 1' is not '[u|g|b] container-id host-id count'"
)]
#[case::overflowing_map(
    "lxc.idmap: b 0 4294967295 2",
    "lxc.idmap",
    "'b 0 4294967295 2' is not '[u|g|b] container-id host-id count'"
)]
#[case::rootless_map(
    "lxc.idmap: b 1 100000 10",
    "lxc.idmap",
    "user and group 0 of the container must be mapped"
)]
fn refuses(#[case] line: &str, #[case] key: &str, #[case] reason: &str) {
    let err = convert(&with(line), &HostFacts::for_tests()).unwrap_err();

    assert_eq!(err.to_string(), format!("unable to parse value of '{key}' - {reason}"));
}

#[test]
fn refuses_a_container_without_a_rootfs() {
    let err = convert("arch: amd64\n", &HostFacts::for_tests()).unwrap_err();

    assert!(err.to_string().contains("rootfs"), "{err}");
}

#[rstest]
#[case::memory("memory: 64", "memory", "memory")]
#[case::cpulimit("cpulimit: 1", "cpu", "cpulimit")]
#[case::cpuunits("cpuunits: 10", "cpu", "cpuunits")]
#[case::cores("cores: 1", "cpuset", "cores")]
fn names_a_limit_that_the_host_cannot_set(
    #[case] line: &str,
    #[case] controller: &str,
    #[case] key: &str,
) {
    let mut facts = HostFacts::for_tests();
    assert!(facts.cgroup.controllers.remove(controller));

    let warnings = convert(&with(line), &facts).unwrap().warnings;

    let reason = format!("this host has no cgroup controller '{controller}'");
    assert!(warnings.contains(&Warning::new(key, reason)), "{warnings:?}");
}

/// LXC does not start over a file that is not there.
#[test]
fn names_a_limit_that_the_kernel_does_not_have() {
    let mut facts = HostFacts::for_tests();
    facts.cgroup.files = BTreeMap::from([("io".to_owned(), ["io.max".to_owned()].into())]).into();
    let config = ContainerConfig::parse(b"rootfs: none:0\n");
    let oci = OciConfig::parse("io-weight: 50\nio-max: 8:0 rbps=1\npids: 9\n");
    let guest = Guest { oci: &oci, ..Guest::for_tests(&config) };

    for reach in [&super::keys::CRUN, &super::keys::LXC] {
        let bundle = decide(&guest, &facts, reach).unwrap();

        let reason = "this host has no such limit";
        assert_eq!(bundle.warnings, [Warning::new("oci: io-weight", reason)]);
        let files: Vec<_> = bundle.limits.iter().map(|limit| &*limit.file).collect();
        assert!(files.ends_with(&["pids.max", "io.max"]), "{files:?}");
    }
}

#[test]
fn names_a_capability_that_the_host_does_not_have() {
    let facts = HostFacts { capabilities: !(1 << 24), ..HostFacts::for_tests() };

    let bundle = convert(MINIMAL, &facts).unwrap();

    let warning = Warning::new("capabilities", "this host withholds CAP_SYS_RESOURCE");
    assert_eq!(bundle.warnings, [warning]);
    assert!(!to_json(&bundle.spec).contains("CAP_SYS_RESOURCE"));
    assert!(to_json(&bundle.spec).contains("CAP_SYS_PTRACE"));
}

/// The profile, or what is said instead of it.
fn confined(lines: &str, apparmor: Option<AppArmor>) -> String {
    let facts = HostFacts { apparmor, ..HostFacts::for_tests() };
    let bundle = match convert(&with(lines), &facts) {
        Ok(bundle) => bundle,
        Err(err) => return err.to_string(),
    };
    let said = bundle.warnings.iter().filter(|warning| warning.key.contains("apparmor"));
    let mut lines: Vec<_> = said.map(|w| format!("{}: {}", w.key, w.reason)).collect();
    lines.extend(bundle.spec.process().as_ref().unwrap().apparmor_profile().clone());
    lines.join("\n")
}

#[rstest]
#[case::system("", "lxcri-system")]
#[case::application("entrypoint: /bin/true", "lxcri-application")]
#[case::nesting("entrypoint: /bin/true\nfeatures: nesting=1", "lxcri-nesting")]
#[case::raw_nesting("lxc.apparmor.allow_nesting: 1", "lxcri-nesting")]
#[case::generated("lxc.apparmor.profile: generated", "lxcri-system")]
#[case::named("lxc.apparmor.profile: lxc-container-default", "lxc-container-default")]
#[case::last("lxc.apparmor.profile: none\nlxc.apparmor.profile: generated", "lxcri-system")]
#[case::unconfined("lxc.apparmor.profile: unconfined", "")]
#[case::unchanged("lxc.apparmor.profile: unchanged", "")]
#[case::mounts("features: mount=nfs;cifs", "lxcri-100")]
#[case::mounts_nothing_of_the_kernels("features: mount=proc", "lxcri-system")]
#[case::mounts_anything("features: mount=nfs,nesting=1", "lxcri-nesting")]
#[case::unknown(
    "lxc.apparmor.profile: none",
    "lxc.apparmor.profile: the profile 'none' is not loaded"
)]
fn confines_by_what_the_container_is(#[case] lines: &str, #[case] expected: &str) {
    assert_eq!(confined(lines, HostFacts::for_tests().apparmor), expected);
}

#[rstest]
#[case::system("features: mount=nfs; cifs", true, &[])]
#[case::nesting("features: mount=nfs,nesting=1", false, &[])]
#[case::the_kernels(
    "features: mount=nfs;sysfs",
    true,
    &["mount: 'sysfs' shows the host's own, and only `nesting` lets it be mounted"]
)]
#[case::application(
    "features: mount=nfs\nentrypoint: /bin/true",
    true,
    &["mount: nothing is mounted without CAP_SYS_ADMIN, which it has not"]
)]
#[case::unconfined("features: mount=nfs\nlxc.apparmor.profile: unconfined", false, &[])]
#[case::named(
    "features: mount=nfs\nlxc.apparmor.profile: lxc-container-default",
    false,
    &["mount is left out: the profile 'lxc-container-default' says what may be mounted"]
)]
fn makes_a_profile_for_what_may_be_mounted(
    #[case] lines: &str,
    #[case] made: bool,
    #[case] said: &[&str],
) {
    let bundle = convert(&with(lines), &HostFacts::for_tests()).unwrap();

    let own = bundle.profile.map(|profile| profile.name);
    assert_eq!(own.as_deref(), made.then_some("lxcri-100"));
    let warnings = bundle.warnings.iter().filter(|warning| warning.key == "features");
    assert_eq!(warnings.map(|warning| warning.reason.as_str()).collect::<Vec<_>>(), said);
}

/// Nothing says what may be mounted, so there is nothing to load.
#[rstest]
#[case::no_apparmor(None)]
#[case::not_loaded(Some(AppArmor::Profiles(BTreeMap::default())))]
fn makes_no_profile_where_its_parts_are_not_loaded(#[case] apparmor: Option<AppArmor>) {
    let facts = HostFacts { apparmor, ..HostFacts::for_tests() };
    let bundle = convert(&with("features: mount=nfs"), &facts).unwrap();
    assert_eq!(bundle.profile, None);
    assert_eq!(*bundle.spec.process().as_ref().unwrap().apparmor_profile(), None);
}

const NAMED: &str = "lxc.apparmor.profile: mine";

fn complaining() -> Option<AppArmor> {
    Some(AppArmor::Profiles([("lxcri-system".to_owned(), Mode::Tolerates)].into()))
}

#[rstest]
#[case::no_apparmor("", None, "")]
#[case::none_to_name(
    NAMED,
    None,
    "lxc.apparmor.profile: this host has no AppArmor; the container is not confined"
)]
#[case::not_loaded(
    "",
    Some(AppArmor::Profiles([("lxcri-nesting".to_owned(), Mode::Forbids)].into())),
    "apparmor: the profile 'lxcri-system' is not loaded (apparmor_parser -r \
     /etc/apparmor.d/proxmox-lxcri does that); the container is not confined"
)]
#[case::not_known(
    "",
    Some(AppArmor::NoSecurityfs),
    "apparmor: 'lxcri-system' may not be loaded: securityfs is not mounted; the container is not \
     confined"
)]
#[case::complains(
    "",
    complaining(),
    "apparmor: the profile 'lxcri-system' is in complain mode and forbids nothing\nlxcri-system"
)]
#[case::libcrun_finds_out(NAMED, Some(AppArmor::NoSecurityfs), "mine")]
fn confines_as_far_as_the_host_can(
    #[case] lines: &str,
    #[case] apparmor: Option<AppArmor>,
    #[case] expected: &str,
) {
    assert_eq!(confined(lines, apparmor), expected);
}

#[rstest]
#[case::without(None)]
#[case::not_loaded(Some(AppArmor::Profiles(BTreeMap::default())))]
#[case::complains(complaining())]
fn a_policy_can_insist_on_a_profile(#[case] apparmor: Option<AppArmor>) {
    let policy = Policy::parse("[refuse]\nunconfined = true\n", Path::new("p")).unwrap();
    let config = ContainerConfig::parse(MINIMAL.as_bytes());
    let facts = HostFacts { apparmor, ..HostFacts::for_tests() };

    let err = spec(&Guest { policy: &policy, ..Guest::for_tests(&config) }, &facts).unwrap_err();

    assert!(err.to_string().contains("without an AppArmor profile"), "{err}");
}

#[rstest]
#[case::application("entrypoint: /bin/true", "", 15)]
#[case::other_init("", "SigBlk:\t0000000000000000\n", 30)]
#[case::systemd("", "SigBlk:\t7fe3c0fe28014a03\nSigCgt:\t0000000000000000\n", 37)]
#[case::configured("lxc.signal.halt: SIGUSR1", "", 10)]
#[case::number("lxc.signal.halt: 12", "", 12)]
#[case::real_time("lxc.signal.halt: SIGRTMIN+4", "", 38)]
fn asks_init_to_end(#[case] line: &str, #[case] status: &str, #[case] signal: i32) {
    let config = ContainerConfig::parse(with(line).as_bytes());

    assert_eq!(stop_signal(&config, status), signal);
}

#[test]
fn spreads_containers_over_the_cpus() {
    let facts = HostFacts { cpus: 4, ..HostFacts::for_tests() };
    let cpus = |vmid: &str| {
        let config = ContainerConfig::parse(with("cores: 2").as_bytes());
        let guest = Guest { vmid: vmid.parse().unwrap(), ..Guest::for_tests(&config) };
        let limits = spec(&guest, &facts).unwrap().limits;
        limits.into_iter().find(|limit| limit.file == "cpuset.cpus").unwrap().value
    };

    assert_eq!((cpus("100"), cpus("101")), ("0,1".into(), "2,3".into()));
}

/// Calls, each with the condition, that a filter answers with `action`.
fn calls(spec: &serde_json::Value, action: &str) -> std::collections::BTreeSet<String> {
    let rules = spec["linux"]["seccomp"]["syscalls"].as_array().unwrap();
    let rules = rules.iter().filter(|rule| rule["action"] == action);
    let names = rules.flat_map(|rule| {
        rule["names"].as_array().unwrap().iter().map(move |name| format!("{name} {}", rule["args"]))
    });
    names.collect()
}

fn under(policy: &Policy, text: &str) -> Result<serde_json::Value, BundleError> {
    let config = ContainerConfig::parse(text.as_bytes());
    let bundle = spec(&Guest { policy, ..Guest::for_tests(&config) }, &HostFacts::for_tests())?;
    Ok(serde_json::to_value(bundle.spec).unwrap())
}

#[rstest]
#[case::privileged("privileged = true", "", "unprivileged: a privileged container")]
#[case::feature("features = [\"nesting\"]", "features: nesting=1", "features: nesting")]
#[case::unconfined(
    "unconfined = true",
    "lxc.apparmor.profile: unconfined",
    "lxc.apparmor.profile: a container without an AppArmor profile"
)]
#[case::raw_nesting(
    "features = [\"nesting\"]",
    "lxc.apparmor.allow_nesting: 1",
    "lxc.apparmor.allow_nesting: nesting"
)]
#[case::raw("raw-keys = [\"lxc.cap.*\"]", "lxc.cap.keep: none", "lxc.cap.keep: this key")]
fn a_policy_refuses_by_name(#[case] refuse: &str, #[case] line: &str, #[case] what: &str) {
    let policy = Policy::parse(&format!("[refuse]\n{refuse}\n"), Path::new("p")).unwrap();

    let err = under(&policy, &with(line)).unwrap_err();

    assert_eq!(err.to_string(), format!("{what} is refused by this host's policy"));
    assert!(under(&policy, &with("unprivileged: 1")).is_ok());
}

proptest! {
    /// Whatever the config is and whatever the policy says.
    #[test]
    fn a_policy_can_only_take(
        lines in proptest::sample::subsequence(vec![
            "unprivileged: 1", "features: nesting=1,keyctl=1", "entrypoint: /bin/true",
            "lxc.cap.keep: sys_admin net_raw sys_time", "lxc.cap.drop: chown", "ostype: alpine",
        ], 0..6),
        calls_denied in proptest::sample::subsequence(
            vec!["ioctl", "openat", "mount", "umount2", "socket", "clone3", "none_such"], 0..7),
        dropped in proptest::sample::subsequence(vec!["CAP_CHOWN", "sys_admin", "NET_RAW"], 0..3),
        privileges: bool,
        readonly: bool,
    ) {
        let text = format!(
            "deny-syscalls = {calls_denied:?}\ndrop-capabilities = {dropped:?}\n\
             no-new-privileges = {privileges}\nreadonly-rootfs = {readonly}\n"
        );
        let policy = Policy::parse(&text, Path::new("policy.toml")).unwrap();
        let config = with(&lines.join("\n"));
        let mut more = under(&Policy::default(), &config).unwrap();
        let mut less = under(&policy, &config).unwrap();

        let set = |spec: &serde_json::Value, kind: &str| -> std::collections::BTreeSet<String> {
            serde_json::from_value(spec["process"]["capabilities"][kind].clone()).unwrap()
        };
        for kind in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            prop_assert!(set(&less, kind).is_subset(&set(&more, kind)));
        }
        for path in ["/process/noNewPrivileges", "/root/readonly"] {
            let (less, more) = (less.pointer(path), more.pointer(path));
            prop_assert!(less == more || less == Some(&true.into()));
        }
        prop_assert_eq!(
            &less["linux"]["seccomp"]["defaultAction"], &more["linux"]["seccomp"]["defaultAction"]);
        // A call that was allowed may now be allowed under a condition.
        let allowed = calls(&more, "SCMP_ACT_ALLOW");
        for call in calls(&less, "SCMP_ACT_ALLOW") {
            let name = call.split(' ').next().unwrap();
            let all = format!("{name} null");
            prop_assert!(allowed.contains(&call) || allowed.contains(&all));
        }
        let denied = calls(&less, "SCMP_ACT_ERRNO");
        for name in &calls_denied {
            let all = format!("\"{name}\" null");
            prop_assert!(denied.contains(&all), "{} not in {:?}", all, denied);
        }
        for call in calls(&more, "SCMP_ACT_ERRNO") {
            let name = call.split(' ').next().unwrap();
            let all = format!("{name} null");
            prop_assert!(denied.contains(&call) || denied.contains(&all));
        }
        // And nothing else is touched.
        for spec in [&mut more, &mut less] {
            spec["process"]["capabilities"].take();
            spec["process"]["noNewPrivileges"].take();
            spec["root"]["readonly"].take();
            spec["linux"]["seccomp"].take();
        }
        prop_assert_eq!(more, less);
    }

    #[test]
    fn never_panics(text in "([a-z.]{2,12}[0-9]?: [ -~]{0,30}\n){0,12}") {
        let _result = convert(&text, &v1());
        let _result = convert(&with(&text), &HostFacts::for_tests());
    }
}
