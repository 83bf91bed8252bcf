//! One snapshot for each config in the corpus, the bundle's and some for LXC alone.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::ct_config::ContainerConfig;

const MINIMAL: &str = "arch: amd64\nostype: debian\nrootfs: local:100/x.raw,size=4G\n";

fn installed() -> Installed {
    let configs = ["alpine.common.conf", "common.conf", "common.seccomp", "userns.conf"];
    Installed::with(&configs, &[("vmbr0", 1500), ("vmbr1", 9000)])
}

fn convert(text: &str, facts: &HostFacts) -> Result<LxcConfig, BundleError> {
    convert_with(text, facts, &installed())
}

fn convert_with(
    text: &str,
    facts: &HostFacts,
    installed: &Installed,
) -> Result<LxcConfig, BundleError> {
    let config = ContainerConfig::parse(text.as_bytes());
    let guest = Guest { terminal: config.has_terminal(), ..Guest::for_tests(&config) };
    let files = Files {
        log: Path::new("/var/log/proxmox-lxcri/100.log"),
        seccomp: Path::new("/run/proxmox-lxcri/100/seccomp"),
        oom: Path::new("/run/proxmox-lxcri/100/oom"),
    };
    super::config(&guest, facts, installed, files)
}

fn with(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

fn text_of(lines: &str) -> String {
    convert(&with(lines), &HostFacts::for_tests()).unwrap().text
}

#[rstest]
fn converts(
    #[files("tests/bundle/*.conf")]
    #[files("tests/lxc/*.conf")]
    path: PathBuf,
) {
    let text = fs_err::read_to_string(&path).unwrap();
    let mut facts = HostFacts::for_tests();
    if text.contains("cgroup v1") {
        facts.cgroup.version = CgroupVersion::V1;
    }
    facts.apparmor = facts.apparmor.filter(|_| !text.contains("no AppArmor"));

    let config = convert(&text, &facts).unwrap();

    let name = path.file_stem().unwrap().to_string_lossy();
    let warnings: Vec<_> =
        config.warnings.iter().map(|w| format!("WARN: {}: {}\n", w.key, w.reason)).collect();
    let command = format!("command: {:?}, debug: {}\n", config.command, config.debug);
    let seccomp = config.seccomp.map(|profile| format!("--- seccomp\n{profile}"));
    let all = [warnings.concat(), command, config.text, seccomp.unwrap_or_default()].concat();
    insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
        insta::assert_snapshot!(all);
    });
}

#[test]
fn an_included_file_is_named_only_if_it_is_there() {
    let config = text_of("ostype: alpine\nunprivileged: 1");
    assert!(config.contains("lxc.include = /usr/share/lxc/config/alpine.common.conf\n"));
    assert!(config.contains("lxc.include = /usr/share/lxc/config/userns.conf\n"));
    assert!(text_of("").contains("lxc.include = /usr/share/lxc/config/common.conf\n"));
    assert!(!text_of("").contains("userns"));
    assert_eq!(Installed::default().include("alpine", "common"), None);
}

#[rstest]
#[case::too_large(
    "net0: name=eth0,bridge=vmbr0,mtu=9000",
    "net0: MTU size '9000' is bigger than bridge MTU '1500'"
)]
#[case::slaac(
    "net0: name=eth0,bridge=vmbr0,host-managed=1,ip6=auto",
    "net0: SLAAC is not supported for host-managed network configuration"
)]
#[case::odd_type(
    "features: mount=nfs {",
    "unable to parse value of 'features' - '{' is not a file system type"
)]
#[case::little_memory(
    "memory: 8",
    "unable to parse value of 'memory' - value must have a minimum value of 16"
)]
fn refuses(#[case] line: &str, #[case] message: &str) {
    let err = convert(&with(line), &HostFacts::for_tests()).unwrap_err();

    assert_eq!(err.to_string(), message);
}

#[rstest]
#[case::unmanaged("ip=10.0.0.2/24", "ostype: unmanaged", true)]
#[case::an_application("ip=10.0.0.2/24", "ostype: debian\nentrypoint: /bin/web", true)]
#[case::its_files("ip=dhcp", "ostype: debian", false)]
#[case::from_outside("ip=10.0.0.2/24,host-managed=1", "ostype: unmanaged", false)]
fn an_address_that_nobody_sets_is_told(
    #[case] address: &str,
    #[case] lines: &str,
    #[case] told: bool,
) {
    let net = format!("net0: name=eth0,bridge=vmbr0,type=veth,{address}\n{lines}");

    let config = convert(&with(&net), &HostFacts::for_tests()).unwrap();

    assert_eq!(config.warnings.iter().any(|warning| warning.key == "net0"), told);
}

/// Debian 12's parser refuses a profile with a rule that it does not know.
#[rstest]
#[case::alone("", "allow mqueue,")]
#[case::nesting("unprivileged: 1\nfeatures: nesting=1", "allow userns,")]
fn rules_are_those_that_the_parser_knows(#[case] lines: &str, #[case] rule: &str) {
    let text = |installed: &Installed| {
        convert_with(&with(lines), &HostFacts::for_tests(), installed).unwrap().text
    };

    assert!(text(&installed()).contains(rule));
    let older = text(&installed().with_an_older_apparmor());
    assert!(older.contains("lxc.apparmor.profile = generated"));
    assert!(!older.contains(" allow "), "{older}");
}

#[rstest]
#[case::seccomp("lxc.seccomp.profile: /etc/own", "lxc.seccomp.profile = /etc/own")]
#[case::apparmor("lxc.apparmor.profile: unconfined", "lxc.apparmor.profile = unconfined")]
fn a_profile_of_the_users_own_is_the_only_one(#[case] line: &str, #[case] expected: &str) {
    let text = text_of(line);

    let key = expected.split(" =").next().unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(key)).collect();
    assert_eq!(lines, [expected]);
}

#[test]
fn words_that_lxc_would_split_otherwise_go_to_the_command_line() {
    let config = with(r#"entrypoint: /bin/sh -c 'echo "it'\''s"' "a b""#);

    let config = convert(&config, &HostFacts::for_tests()).unwrap();

    assert_eq!(config.command, ["/bin/sh", "-c", "echo \"it's\"", "a b"]);
    assert!(!config.text.contains("lxc.init.cmd"));
}

#[test]
fn lxc_start_has_a_cgroup_beside() {
    assert_eq!(monitor_cgroup("lxc/100"), "lxc.monitor/100");
    assert_eq!(monitor_cgroup("lxcri-00ff00ff/100"), "lxcri-00ff00ff.monitor/100");
}

proptest! {
    /// Nor does any value begin a line of its own.
    #[test]
    fn never_panics(text in "([a-z.]{2,12}[0-9]?: [ -~]{0,30}\n){0,12}") {
        for text in [text.clone(), with(&text)] {
            let Ok(config) = convert(&text, &HostFacts::for_tests()) else { continue };
            prop_assert!(config.text.lines().all(|line| line.starts_with("lxc.")));
        }
    }
}
