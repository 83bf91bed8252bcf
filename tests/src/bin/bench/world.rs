//! A node as somebody has it: users, a token, groups, pools and rights, and as many containers as
//! asked for, none of which runs.

use std::fmt::Write as _;

use tests::{Builder, NODE, SHA256_OF_SECRET_WORD};

pub(crate) const FIRST: u32 = 100;
pub(crate) const USER: &str = "ops@pve";
pub(crate) const PASSWORD: &str = "secret-word";
/// With rights of its own, as monitoring has it.
pub(crate) const TOKEN: &str = "ops@pve!monitor=3b1c5f0e-7a52-4d0c-9d0b-5f2f6c1a9e77";

pub(crate) fn fill(builder: Builder, guests: u32) -> Builder {
    let (id, secret) = TOKEN.split_once('=').unwrap();
    let (name, _) = USER.split_once('@').unwrap();
    let builder = builder
        .token(&format!("root@pam!unused={secret}"))
        .file("etc/pve/user.cfg", &users(guests))
        .file("etc/pve/priv/token.cfg", &format!("{id} {secret}\n"))
        .file("etc/pve/priv/shadow.cfg", &format!("{name}:{SHA256_OF_SECRET_WORD}:\n"));
    (FIRST..FIRST + guests).fold(builder, |builder, vmid| {
        builder.file(&format!("etc/pve/nodes/{NODE}/lxc/{vmid}.conf"), &config(vmid))
    })
}

/// The token is an auditor of everything, its user an administrator through a group; others have a
/// few containers each, some by a pool.
fn users(guests: u32) -> String {
    let mut text = "user:root@pam:1:0:::::\n".to_owned();
    writeln!(text, "user:{USER}:1:0:Olga:Ops:ops@example.com::").unwrap();
    text += "token:ops@pve!monitor:0:1:exporter:\n";
    for number in 1..=20 {
        writeln!(text, "user:dev{number}@pve:1:0:Dev:{number}:dev{number}@example.com::").unwrap();
    }
    text += "\ngroup:operators:ops@pve,dev1@pve:who is called at night:\n";
    text += "group:developers:dev1@pve,dev2@pve,dev3@pve:who is not:\n\n";
    let pool: Vec<_> = (FIRST..FIRST + guests).step_by(10).map(|vmid| vmid.to_string()).collect();
    writeln!(text, "pool:production:what customers see:{}:local:", pool.join(",")).unwrap();
    text += "\nacl:1:/:@operators:PVEAdmin:\n";
    text += "acl:1:/:ops@pve!monitor:PVEAuditor:\n";
    text += "acl:1:/pool/production:@developers:PVEVMUser:\n";
    for (vmid, number) in (FIRST..FIRST + guests).step_by(50).zip((1..=20).cycle()) {
        writeln!(text, "acl:1:/vms/{vmid}:dev{number}@pve:PVEVMUser:").unwrap();
    }
    text
}

fn config(vmid: u32) -> String {
    let role = ["web", "db", "cache", "mail"][vmid as usize % 4];
    let mut text = format!(
        "#{role} of team {}\n#\n#Ask ops before you touch it%3A they know why.\n",
        vmid % 7
    );
    let keys = format!(
        "arch: amd64\ncores: {cores}\nfeatures: nesting=1\nhostname: {role}-{vmid}\n\
         memory: {memory}\n\
         mp0: local:{vmid}/vm-{vmid}-disk-1.raw,mp=/srv/data,backup=1,size=16G\n\
         net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:{high:02X}:{low:02X},ip=dhcp,\
         ip6=auto,type=veth\n\
         onboot: 1\nostype: debian\nrootfs: local:{vmid}/vm-{vmid}-disk-0.raw,size=8G\n\
         swap: 512\ntags: {role};prod\nunprivileged: 1\n",
        cores = 1 + vmid % 4,
        memory = 512 << (vmid % 3),
        high = vmid / 256,
        low = vmid % 256,
    );
    text += &keys;
    if vmid.is_multiple_of(5) {
        write!(text, "parent: before-upgrade\n\n[before-upgrade]\n#as it was in spring\n{keys}")
            .unwrap();
        text += "snaptime: 1775000000\n";
    }
    text
}
