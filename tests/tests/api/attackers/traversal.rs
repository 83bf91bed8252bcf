//! Names that would lead out of where they belong.

use rstest::rstest;
use tests::{Client, Daemon};

use super::assert_well;

const SECRET: &str = "nobody may read this";

fn world() -> Daemon {
    crate::with_guest()
        .file("etc/secret", SECRET)
        .file("etc/secret.tar", SECRET)
        .file("var/lib/vz/template/secret.tar", SECRET)
        .start()
}

/// The path as it is, past any helpful client.
fn send(daemon: &Daemon, verb: &str, path: &str, body: &str) -> tests::Reply {
    let token = format!("PVEAPIToken={}", daemon.token());
    let mut headers = vec![("Authorization", token.as_str())];
    if !body.is_empty() {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    let head = format!("{verb} /api2/json{path}");
    Client::new(daemon.address()).request(&head, &headers, body.as_bytes())
}

#[rstest]
#[case::volume_raw(
    "/nodes/pve1/storage/local/content/local:vztmpl/../../../../../etc/secret.tar",
    "500 unable to parse directory volume name 'vztmpl/../../../../../etc/secret.tar'"
)]
#[case::volume_dots(
    "/nodes/pve1/storage/local/content/local:vztmpl/%2e%2e/secret.tar",
    "500 unable to parse directory volume name 'vztmpl/../secret.tar'"
)]
#[case::volume_slashes(
    "/nodes/pve1/storage/local/content/local:vztmpl%2F..%2Fsecret.tar",
    "500 unable to parse directory volume name 'vztmpl/../secret.tar'"
)]
#[case::volume_absolute(
    "/nodes/pve1/storage/local/content/%2Fetc%2Fsecret.tar",
    "500 unable to parse directory volume name 'etc/secret.tar'"
)]
#[case::volume_nul(
    "/nodes/pve1/storage/local/content/local:vztmpl/secret.tar%00.tar",
    "400 Parameter verification failed."
)]
#[case::volume_twice_encoded(
    "/nodes/pve1/storage/local/content/local:vztmpl%252F..%252Fsecret.tar",
    "500 unable to parse directory volume name 'vztmpl%2F..%2Fsecret.tar'"
)]
#[case::volume_of_a_guest(
    "/nodes/pve1/storage/local/content/local:100/../../template/secret.tar",
    "500 unable to parse directory volume name '100/../../template/secret.tar'"
)]
#[case::storage(
    "/nodes/pve1/storage/..%2F..%2Fetc/content",
    "501 Method 'GET /nodes/pve1/storage/../../etc/content' not implemented"
)]
#[case::storage_dots("/nodes/pve1/storage/../status", "400 Parameter verification failed.")]
#[case::task_log(
    "/nodes/pve1/tasks/UPID:pve1:..%2F..%2F..%2Fetc%2Fsecret/log",
    "501 Method 'GET /nodes/pve1/tasks/UPID:pve1:../../../etc/secret/log' not implemented"
)]
#[case::task_fields(
    "/nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B043E61:..%2F..%2F..%2Fetc:secret:root@pam:/log",
    "501 Method 'GET /nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B043E61:../../../etc:secret:root@pam:/log' not implemented"
)]
#[case::task_dots(
    "/nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B043E61:..:..:..:/log?download=1",
    "500 Could not open file 'ROOT/var/log/pve/tasks/1/UPID:pve1:00000001:00000001:6B043E61:..:..:..:' - No such file or directory"
)]
#[case::task_nul(
    "/nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B043E61:vzstart%00:100:root@pam:/log",
    "400 Parameter verification failed."
)]
#[case::node_dots(
    "/nodes/../../secret/lxc",
    "501 Method 'GET /nodes/../../secret/lxc' not implemented"
)]
#[case::node_encoded_dots(
    "/nodes/%2e%2e/lxc/100/config",
    "500 hostname lookup '..' failed - failed to get address info for: ..: Name or service not known"
)]
#[case::node_slash(
    "/nodes/pve1%2F..%2Fpve1/lxc/100/config",
    "501 Method 'GET /nodes/pve1/../pve1/lxc/100/config' not implemented"
)]
#[case::node_nul("/nodes/pve1%00/lxc/100/config", "500 Internal Server Error")]
#[case::guest(
    "/nodes/pve1/lxc/..%2F..%2F..%2Fuser.cfg/config",
    "501 Method 'GET /nodes/pve1/lxc/../../../user.cfg/config' not implemented"
)]
#[case::guest_dots(
    "/nodes/pve1/lxc/../../../user.cfg",
    "501 Method 'GET /nodes/pve1/lxc/../../../user.cfg' not implemented"
)]
#[case::snapshot(
    "/nodes/pve1/lxc/100/snapshot/..%2F..%2Fx/config",
    "501 Method 'GET /nodes/pve1/lxc/100/snapshot/../../x/config' not implemented"
)]
#[case::pool("/pools/..%2F..%2Fsecret", "501 Method 'GET /pools/../../secret' not implemented")]
#[case::user(
    "/access/users/..%2F..%2Fsecret@pve",
    "501 Method 'GET /access/users/../../secret@pve' not implemented"
)]
#[case::beside_the_api("/../../etc/secret", "501 Method 'GET /../../etc/secret' not implemented")]
#[case::encoded_beside_the_api(
    "/%2e%2e/%2e%2e/etc/secret",
    "501 Method 'GET /../../etc/secret' not implemented"
)]
fn nothing_is_read(#[case] path: &str, #[case] line: &str) {
    let daemon = world();
    let reply = send(&daemon, "GET", path, "");
    let said = reply.line().replace(daemon.root().to_str().unwrap(), "ROOT");
    assert_eq!(said, line, "{}", reply.text());
    assert!(!reply.text().contains(SECRET), "{}", reply.text());
    assert!(!reply.text().contains("user:root"), "{}", reply.text());
    assert_well(&daemon);
}

#[rstest]
#[case::raw("/nodes/pve1/storage/local/content/local:vztmpl/../../../../../etc/secret.tar")]
#[case::dots("/nodes/pve1/storage/local/content/local:vztmpl/%2e%2e/secret.tar")]
#[case::slashes("/nodes/pve1/storage/local/content/local:vztmpl%2F..%2Fsecret.tar")]
#[case::absolute("/nodes/pve1/storage/local/content/%2Fetc%2Fsecret.tar")]
#[case::guest("/nodes/pve1/lxc/..%2F100")]
#[case::task("/nodes/pve1/tasks/..%2F..%2Fsecret")]
#[case::snapshot("/nodes/pve1/lxc/100/snapshot/..%2Fx")]
fn nothing_is_deleted(#[case] path: &str) {
    let daemon = world();
    let reply = send(&daemon, "DELETE", path, "");
    if reply.status == 200 {
        // A task may be opened first, as on PVE; then it is the task that fails.
        assert_ne!(daemon.task(&reply).exitstatus, "OK", "{}", reply.text());
    }
    for file in ["etc/secret", "etc/secret.tar", "var/lib/vz/template/secret.tar"] {
        assert!(daemon.root().join(file).exists(), "{file}");
    }
    assert!(daemon.config_path(100).exists());
    assert_well(&daemon);
}

#[rstest]
#[case::template(
    "/nodes/pve1/lxc",
    "vmid=101&ostemplate=local:vztmpl/..%2F..%2F..%2F..%2Fetc%2Fsecret.tar"
)]
#[case::template_absolute("/nodes/pve1/lxc", "vmid=101&ostemplate=%2Fetc%2Fsecret.tar")]
#[case::rootfs(
    "/nodes/pve1/lxc",
    "vmid=101&ostemplate=local:vztmpl/x.tar&rootfs=local:..%2F..%2Fx.raw"
)]
#[case::rootfs_of_another(
    "/nodes/pve1/lxc",
    "vmid=101&ostemplate=local:vztmpl/x.tar&rootfs=local:100/../101/x.raw"
)]
#[case::snapshot("/nodes/pve1/lxc/100/snapshot", "snapname=..%2Fx")]
#[case::snapshot_with_a_section("/nodes/pve1/lxc/100/snapshot", "snapname=a%5D%0A%5Bb")]
#[case::hostname_with_a_line(
    "/nodes/pve1/lxc",
    "vmid=101&ostemplate=local:vztmpl/x.tar&hostname=a%0Alxc.hook.start:x"
)]
fn nothing_is_made_elsewhere(#[case] path: &str, #[case] body: &str) {
    let daemon = world();
    let before = files(daemon.root());
    let reply = send(&daemon, "POST", path, body);
    if reply.status == 200 {
        assert_ne!(daemon.task(&reply).exitstatus, "OK", "{}", reply.text());
    }
    let new: Vec<_> =
        files(daemon.root()).into_iter().filter(|file| !before.contains(file)).collect();
    let strange: Vec<_> = new
        .iter()
        .filter(|file| !["/var/log/", "/run/", "daemon.log"].iter().any(|part| file.contains(part)))
        .collect();
    assert_eq!(strange, [""; 0], "{}", reply.line());
    assert_well(&daemon);
}

/// `description` and `tags` and the like end up in the config, a line each.
#[rstest]
#[case::section("hostname", "a%0A[pve:pending]%0Amemory: 1")]
#[case::raw_key("tags", "a%0Alxc.init.cmd: /bin/sh")]
#[case::nameserver("nameserver", "1.1.1.1%0Alxc.init.cmd:x")]
#[case::net("net0", "name=eth0%0Alxc.init.cmd:x")]
#[case::startup("startup", "order=1%0Alxc.init.cmd:x")]
#[case::comment("description", "a%0Alxc.init.cmd: /bin/sh%0D[x]")]
fn no_line_is_smuggled_into_a_config(#[case] key: &str, #[case] value: &str) {
    let daemon = world();
    let reply = send(&daemon, "PUT", "/nodes/pve1/lxc/100/config", &format!("{key}={value}"));
    let config = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    let smuggled = config.lines().find(|line| line.starts_with("lxc.") || line.starts_with('['));
    assert_eq!(smuggled, None, "{} {config}", reply.line());
    assert_well(&daemon);
}

/// What an upload calls its file.
#[rstest]
#[case::up("../../../../etc/new.tar")]
#[case::absolute("/etc/new.tar")]
#[case::nul("new.tar\u{0}.tar")]
fn an_upload_lands_where_uploads_do(#[case] name: &str) {
    let daemon = world();
    let token = format!("PVEAPIToken={}", daemon.token());
    let part = |head: &str, body: &str| {
        format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
    };
    let body = part("name=\"content\"", "vztmpl")
        + &part(&format!("name=\"filename\"; filename=\"{name}\""), "bytes")
        + "--x--\r\n";
    let headers =
        [("Authorization", token.as_str()), ("Content-Type", "multipart/form-data; boundary=x")];
    let head = "POST /api2/json/nodes/pve1/storage/local/upload";
    let reply = Client::new(daemon.address()).request(head, &headers, body.as_bytes());
    if reply.status == 200 {
        daemon.task(&reply);
    }
    let new: Vec<_> =
        files(daemon.root()).into_iter().filter(|file| file.contains("new")).collect();
    assert!(new.iter().all(|file| file.contains("/template/cache/")), "{new:?} {}", reply.line());
    assert_well(&daemon);
}

fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path.to_str().unwrap().to_owned()],
        })
        .collect()
}
