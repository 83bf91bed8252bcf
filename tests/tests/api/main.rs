//! The real daemon over HTTP, no container: what every client relies on before it starts one.
//! Status lines and texts are those that a real PVE 9.2 gave.
#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod access;
mod administration;
mod attackers;
mod backup;
mod backup_jobs;
mod bulk;
mod bundle;
mod changes;
mod cluster;
mod command_line;
mod console;
mod creating;
mod docs;
mod firewall;
mod formats;
mod fresh;
mod guest_operations;
mod guests;
mod limits;
mod network;
mod node;
mod parameters;
mod pct;
mod pools;
mod pveproxy;
mod reading;
mod realms;
mod registry;
mod replay;
mod restoring;
mod rrd;
mod runtimes;
mod schemathesis;
mod settings;
mod shell;
mod storage;
mod storage_config;
mod tags;
mod tasks;
mod users;

use tests::{Builder, Daemon, SHA256_OF_SECRET_WORD};

/// joe may all, ann may only look at CT 100, and neither has a password but joe.
const USERS: &str = "user:root@pam:1:0:::::\n\
    user:joe@pve:1:0:::::\n\
    user:ann@pve:1:0:::::\n\
    token:root@pam!test:0:0::\n\
    token:ann@pve!look:0:0::\n\
    token:joe@pve!off:1000:0::\n\
    \n\n\n\
    acl:1:/:joe@pve:Administrator:\n\
    acl:1:/vms/100:ann@pve:PVEAuditor:\n";

const ROOT: &str = "root@pam!test=11111111-2222-3333-4444-777777777777";
const ANN: &str = "PVEAPIToken=ann@pve!look=11111111-2222-3333-4444-555555555555";
const JOE_EXPIRED: &str = "PVEAPIToken=joe@pve!off=11111111-2222-3333-4444-666666666666";

fn with_users() -> Builder {
    Daemon::builder()
        .file("etc/pve/user.cfg", USERS)
        .file("etc/pve/priv/shadow.cfg", &format!("joe:{SHA256_OF_SECRET_WORD}:\n"))
        .file(
            "etc/pve/priv/token.cfg",
            "ann@pve!look 11111111-2222-3333-4444-555555555555\n\
             joe@pve!off 11111111-2222-3333-4444-666666666666\n\
             root@pam!test 11111111-2222-3333-4444-777777777777\n",
        )
        .token(ROOT)
}

/// A container that was configured and never made.
const CONFIG: &str = "arch: amd64\ncores: 2\nhostname: box\nmemory: 256\nostype: unmanaged\n\
    rootfs: local:100/vm-100-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";

fn with_guest() -> Builder {
    with_users().file("etc/pve/nodes/pve1/lxc/100.conf", CONFIG)
}
