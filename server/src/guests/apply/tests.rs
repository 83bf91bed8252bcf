use std::cell::RefCell;

use rstest::rstest;

use super::*;

const CONFIG: &str = "\
arch: amd64
hostname: web
memory: 512
mp0: local:100/vm-100-disk-1.raw,mp=/data,size=8G
rootfs: local:100/vm-100-disk-0.raw,size=4G
swap: 512
unprivileged: 1
unused3: local:100/vm-100-disk-9.raw
";

/// Remembers what it is asked for; `local` is its one storage, `vmbrX` no bridge.
#[derive(Debug, Default)]
pub(in crate::guests) struct Fake {
    told: RefCell<Vec<String>>,
    pub(in crate::guests) fails: bool,
}

impl Host for Fake {
    fn check_content(&self, storage: &StorageId) -> Result<(), GuestError> {
        if storage.to_string() == "local" {
            return Ok(());
        }
        Err(GuestError::die(format!("storage '{storage}' does not exist")))
    }

    fn allocate(&mut self, storage: &StorageId, gib: f64) -> Result<(VolumeId, u64), GuestError> {
        if self.fails {
            return Err(GuestError::die("out of space"));
        }
        let volume = format!("{storage}:100/vm-100-disk-5.raw").parse().unwrap();
        Ok((volume, if gib > 0.0 { 1 << 30 } else { 0 }))
    }

    fn size(&self, _: &VolumeId) -> Option<u64> {
        Some(2 << 30)
    }

    fn limit(&self, settings: &[Setting]) -> io::Result<()> {
        if self.fails {
            return Err(io::Error::other("no such cgroup"));
        }
        let lines = settings.iter().map(|setting| format!("{}={}", setting.file, setting.value));
        self.told.borrow_mut().extend(lines);
        Ok(())
    }

    fn plug(&self, key: &str, old: Option<&str>, new: Option<&str>) -> Result<bool, GuestError> {
        if new.is_some_and(|net| net.contains("bridge=vmbrX")) {
            return Err(GuestError::die("bridge 'vmbrX' does not exist"));
        }
        self.told.borrow_mut().push(format!("{key}: {old:?} -> {new:?}"));
        Ok(new.is_none_or(|net| !net.contains("ip=dhcp")))
    }

    fn mount(&self, key: &str, value: &str) -> Result<(), GuestError> {
        if value.contains("mp=/refused") {
            return Err(GuestError::die("no such place"));
        }
        self.told.borrow_mut().push(format!("{key}={value}"));
        Ok(())
    }

    fn check_device(&self, path: &Path) -> Result<(), GuestError> {
        if path == Path::new("/dev/null") { Ok(()) } else { Err(GuestError::die("no device")) }
    }
}

fn facts() -> Facts {
    Facts { vmid: "100".parse().unwrap(), running: true, cgroup_v2: true, host_cpus: 4 }
}

fn config(pending: &str) -> ContainerConfig {
    ContainerConfig::parse(format!("{CONFIG}\n[pve:pending]\n{pending}").as_bytes())
}

fn waits(config: &ContainerConfig) -> Vec<String> {
    let waiting = config.pending().map(Section::iter).into_iter().flatten();
    waiting.map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn a_running_container_takes_limits_and_what_it_need_not_be_told() {
    let pending = "arch: arm64\ncores: 2\ncpulimit: 1.5\nhostname: new\nmemory: 1024\n\
        mp1: local:1,mp=/x\nonboot: 1\n";
    let (mut config, mut host) = (config(pending), Fake::default());

    let applied = hotplug(&mut config, |_| true, facts(), &mut host);

    assert!(applied.errors.is_empty() && applied.doomed.is_empty());
    for (key, value) in
        [("cores", "2"), ("cpulimit", "1.5"), ("hostname", "new"), ("memory", "1024")]
    {
        assert_eq!(config.get(key), Some(value), "{key}");
    }
    assert_eq!(waits(&config), ["arch=arm64"]);
    let mounted = "local:100/vm-100-disk-5.raw,mp=/x,size=1G";
    assert_eq!(config.get("mp1"), Some(mounted));
    assert_eq!(
        *host.told.borrow(),
        [
            "cpuset.cpus=0,1",
            "cpu.max=150000 100000",
            "memory.high=1065353216",
            "memory.max=1073741824",
            &format!("mp1={mounted}"),
        ]
    );
}

#[test]
fn a_running_container_gives_up_limits_and_unused_volumes_but_no_mount_point() {
    let (mut config, mut host) = (config("delete: mp0,swap,tags,unused3\n"), Fake::default());

    let applied = hotplug(&mut config, |_| true, facts(), &mut host);

    assert!(applied.errors.is_empty(), "{:?}", applied.errors);
    assert_eq!(applied.doomed, ["local:100/vm-100-disk-9.raw".parse().unwrap()]);
    assert_eq!((config.get("swap"), config.get("unused3")), (None, None));
    assert_eq!(waits(&config), ["delete=mp0"]);
    assert_eq!(*host.told.borrow(), ["memory.swap.max=0"]);
}

#[rstest]
#[case::changed("mp0: local:100/vm-100-disk-1.raw,mp=/elsewhere\n", &[])]
#[case::refused("mp1: /srv,mp=/refused\n", &["unable to hotplug mp1: no such place\n"])]
fn a_mount_point_that_cannot_be_added_waits(#[case] pending: &str, #[case] errors: &[&str]) {
    let mut config = config(pending);

    let applied = hotplug(&mut config, |_| true, facts(), &mut Fake::default());

    assert_eq!(applied.errors.values().collect::<Vec<_>>(), errors);
    assert_eq!(waits(&config).len(), 1);
}

#[test]
fn only_what_was_selected_is_taken() {
    let mut config = config("hostname: new\nmemory: 1024\n");

    hotplug(&mut config, |key| key == "hostname", facts(), &mut Fake::default());

    assert_eq!((config.get("hostname"), config.get("memory")), (Some("new"), Some("512")));
    assert_eq!(waits(&config), ["memory=1024"]);
}

#[rstest]
#[case::bridge(
    "net0: name=eth0,bridge=vmbrX\n",
    false,
    "net0",
    "unable to hotplug net0: bridge 'vmbrX' does not exist\n"
)]
#[case::weight(
    "cpuunits: 0\n",
    false,
    "cpuunits",
    "unable to hotplug cpuunits: cpu weight (shares) must be in range [1, 10000]\n"
)]
#[case::cgroup("memory: 64\n", true, "memory", "unable to hotplug memory: no such cgroup\n")]
fn says_what_a_running_container_does_not_take(
    #[case] pending: &str,
    #[case] fails: bool,
    #[case] key: &str,
    #[case] message: &str,
) {
    let mut config = config(pending);

    let applied = hotplug(&mut config, |_| true, facts(), &mut Fake { fails, ..Fake::default() });

    assert_eq!(applied.errors, [(key.to_owned(), message.to_owned())].into());
    assert_eq!(waits(&config).len(), 1, "it still waits");
}

#[test]
fn a_network_comes_changes_and_goes_at_once() {
    let (mut config, mut host) = (config("net0: name=eth0,bridge=vmbr0\n"), Fake::default());
    let mut hotplug = |config: &mut ContainerConfig| {
        let applied = hotplug(config, |_| true, facts(), &mut host);
        assert!(applied.errors.is_empty(), "{:?}", applied.errors);
    };

    hotplug(&mut config);
    config.pending_mut().set("net0", "name=eth0");
    hotplug(&mut config);
    assert_eq!(config.get("net0"), Some("name=eth0"));
    config.pending_mut().set("delete", "net0");
    hotplug(&mut config);

    assert_eq!((config.get("net0"), waits(&config)), (None, Vec::new()));
    assert_eq!(
        *host.told.borrow(),
        [
            r#"net0: None -> Some("name=eth0,bridge=vmbr0")"#,
            r#"net0: Some("name=eth0,bridge=vmbr0") -> Some("name=eth0")"#,
            r#"net0: Some("name=eth0") -> None"#,
        ]
    );
}

#[test]
fn a_network_that_only_a_start_can_bring_waits() {
    let mut config = config("net0: name=eth0,ip=dhcp\n");

    let applied = hotplug(&mut config, |_| true, facts(), &mut Fake::default());

    assert!(applied.errors.is_empty(), "{:?}", applied.errors);
    assert_eq!(waits(&config), ["net0=name=eth0,ip=dhcp"]);
}

#[test]
fn a_stop_applies_what_waits() {
    let mut config = config("cores: 1\ndelete: swap,mp0\nmp1: local:1,mp=/x,backup=1\n");

    let applied = pending(&mut config, |_| true, facts().vmid, &mut Fake::default());

    assert!(applied.errors.is_empty() && applied.doomed.is_empty());
    assert_eq!(
        (config.get("cores"), config.get("swap"), config.get("mp0")),
        (Some("1"), None, None)
    );
    assert_eq!(config.get("unused0"), Some("local:100/vm-100-disk-1.raw"), "kept, not destroyed");
    assert_eq!(
        config.get("mp1"),
        Some("local:100/vm-100-disk-5.raw,mp=/x,backup=1,size=1G"),
        "made, and printed as PVE prints it"
    );
    assert!(waits(&config).is_empty());
}

#[test]
fn a_volume_that_cannot_be_made_goes_on_waiting() {
    let mut config = config("cores: 1\nmp1: local:1,mp=/x\n");

    let mut host = Fake { fails: true, ..Fake::default() };
    let applied = pending(&mut config, |_| true, facts().vmid, &mut host);

    let message = "unable to apply pending change mp1 : out of space\n";
    assert_eq!(applied.errors, [("mp1".to_owned(), message.to_owned())].into());
    assert_eq!(config.get("cores"), Some("1"));
    assert_eq!(waits(&config), ["mp1=local:1,mp=/x"]);
}

#[test]
fn another_volume_at_the_same_place_leaves_the_old_one_unused() {
    let mut config = config("mp0: local:100/vm-100-disk-2.raw,mp=/data\n");

    pending(&mut config, |_| true, facts().vmid, &mut Fake::default());

    assert_eq!(config.get("mp0"), Some("local:100/vm-100-disk-2.raw,mp=/data,size=2G"));
    assert_eq!(config.get("unused0"), Some("local:100/vm-100-disk-1.raw"));
}
