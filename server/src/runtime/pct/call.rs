//! What can be asked of `pct`, and the command line of each. Pure. A value is always joined to its
//! option by `=`, so that none can be taken for an option itself; what stands alone is refused if it
//! looks like one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use openapi::{StorageId, Vmid};
use secrecy::SecretString;

use crate::runtime::RuntimeError;

/// Of `pct set`: what is set, and what goes or no longer waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) delete: Vec<String>,
    pub(crate) revert: Vec<String>,
    pub(crate) digest: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum PctCall {
    Start {
        vmid: Vmid,
        skiplock: bool,
        /// LXC's whole log into the task's.
        debug: bool,
    },
    Stop {
        vmid: Vmid,
        skiplock: bool,
    },
    /// `timeout` in seconds.
    Shutdown {
        vmid: Vmid,
        timeout: Option<u64>,
        force: bool,
    },
    Reboot {
        vmid: Vmid,
        timeout: Option<u64>,
    },
    Suspend {
        vmid: Vmid,
    },
    Resume {
        vmid: Vmid,
    },
    Create(Creation),
    Set {
        vmid: Vmid,
        config: Config,
    },
    Destroy {
        vmid: Vmid,
        force: bool,
        unreferenced: bool,
        purge: bool,
    },
    Snapshot {
        vmid: Vmid,
        name: String,
        description: Option<String>,
    },
    DeleteSnapshot {
        vmid: Vmid,
        name: String,
        force: bool,
    },
    Rollback {
        vmid: Vmid,
        name: String,
        start: bool,
    },
    Clone {
        vmid: Vmid,
        to: Vmid,
        options: BTreeMap<String, String>,
    },
    /// `size` as PVE writes one: `8G`, or `+1G`.
    Resize {
        vmid: Vmid,
        disk: String,
        size: String,
        digest: Option<String>,
    },
    Move {
        vmid: Vmid,
        disk: String,
        storage: StorageId,
        options: BTreeMap<String, String>,
    },
    Reassign {
        vmid: Vmid,
        disk: String,
        to: Vmid,
        key: String,
        options: BTreeMap<String, String>,
    },
    Template {
        vmid: Vmid,
    },
    Migrate {
        vmid: Vmid,
        target: String,
        options: BTreeMap<String, String>,
    },
}

/// From a template, or from a backup.
#[derive(Clone, Debug)]
pub(crate) struct Creation {
    pub(crate) vmid: Vmid,
    pub(crate) archive: String,
    pub(crate) restore: bool,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) password: Option<SecretString>,
    /// A file, where the API has the keys themselves.
    pub(crate) ssh_keys: Option<PathBuf>,
}

/// A command line as it grows.
struct Line(Vec<String>);

impl PctCall {
    /// What is to be answered when it asks for a password.
    pub(super) fn password(&self) -> Option<&SecretString> {
        if let Self::Create(creation) = self { creation.password.as_ref() } else { None }
    }

    /// Without the program's own name.
    pub(super) fn argv(&self) -> Result<Vec<String>, RuntimeError> {
        match self {
            Self::Start { vmid, skiplock, debug } => {
                Line::of("start", *vmid).flag("skiplock", *skiplock).flag("debug", *debug).end()
            }
            Self::Stop { vmid, skiplock } => {
                Line::of("stop", *vmid).flag("skiplock", *skiplock).end()
            }
            Self::Shutdown { vmid, timeout, force } => {
                let line = Line::of("shutdown", *vmid).flag("forceStop", *force);
                line.option("timeout", *timeout).end()
            }
            Self::Reboot { vmid, timeout } => {
                Line::of("reboot", *vmid).option("timeout", *timeout).end()
            }
            Self::Suspend { vmid } => Line::of("suspend", *vmid).end(),
            Self::Resume { vmid } => Line::of("resume", *vmid).end(),
            Self::Create(creation) => creation.argv(),
            Self::Set { vmid, config } => {
                let list = |keys: &[String]| (!keys.is_empty()).then(|| keys.join(","));
                let line = Line::of("set", *vmid).options(&config.set)?;
                let line = line.option("delete", list(&config.delete));
                line.option("revert", list(&config.revert))
                    .option("digest", config.digest.as_deref())
                    .end()
            }
            Self::Destroy { vmid, force, unreferenced, purge } => {
                let line = Line::of("destroy", *vmid).flag("force", *force);
                line.flag("destroy-unreferenced-disks", *unreferenced).flag("purge", *purge).end()
            }
            Self::Snapshot { vmid, name, description } => {
                let line = Line::of("snapshot", *vmid).word(name)?;
                line.option("description", description.as_deref()).end()
            }
            Self::DeleteSnapshot { vmid, name, force } => {
                Line::of("delsnapshot", *vmid).word(name)?.flag("force", *force).end()
            }
            Self::Rollback { vmid, name, start } => {
                Line::of("rollback", *vmid).word(name)?.flag("start", *start).end()
            }
            Self::Clone { vmid, to, options } => {
                Line::of("clone", *vmid).word(&to.to_string())?.options(options)?.end()
            }
            Self::Resize { vmid, disk, size, digest } => {
                let line = Line::of("resize", *vmid).word(disk)?.word(size)?;
                line.option("digest", digest.as_deref()).end()
            }
            Self::Move { vmid, disk, storage, options } => {
                let line = Line::of("move-volume", *vmid).word(disk)?;
                line.word(storage.as_str())?.options(options)?.end()
            }
            Self::Reassign { vmid, disk, to, key, options } => {
                // The place of the storage between them stays empty, so both go by name.
                let line = Line::of("move-volume", *vmid).word(disk)?;
                let line = line.option("target-vmid", Some(to));
                line.option("target-volume", Some(key)).options(options)?.end()
            }
            Self::Template { vmid } => Line::of("template", *vmid).end(),
            Self::Migrate { vmid, target, options } => {
                Line::of("migrate", *vmid).word(target)?.options(options)?.end()
            }
        }
    }
}

impl Creation {
    fn argv(&self) -> Result<Vec<String>, RuntimeError> {
        let verb = if self.restore { "restore" } else { "create" };
        let line = Line::of(verb, self.vmid).word(&self.archive)?.options(&self.options)?;
        let keys = self.ssh_keys.as_ref().map(|path| path.display());
        let mut line = line.option("ssh-public-keys", keys);
        if self.password.is_some() {
            // Without a value, so that it asks for one.
            line.0.push("--password".to_owned());
        }
        line.end()
    }
}

impl Line {
    fn of(verb: &str, vmid: Vmid) -> Self {
        Self(vec![verb.to_owned(), vmid.to_string()])
    }

    /// An argument that is known by its place.
    fn word(mut self, text: &str) -> Result<Self, RuntimeError> {
        if text.is_empty() || text.starts_with('-') {
            return Err(RuntimeError::Failed(format!("'{text}' cannot be an argument of pct")));
        }
        self.0.push(text.to_owned());
        Ok(self)
    }

    /// One that is on, or is not mentioned.
    fn flag(self, name: &str, on: bool) -> Self {
        self.option(name, on.then_some(1))
    }

    fn option(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        self.0.extend(value.map(|value| format!("--{name}={value}")));
        self
    }

    fn options(mut self, options: &BTreeMap<String, String>) -> Result<Self, RuntimeError> {
        for (name, value) in options {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if name.is_empty() || name.starts_with('-') || !name.bytes().all(plain) {
                return Err(RuntimeError::Failed(format!("'{name}' cannot be an option of pct")));
            }
            self = self.option(name, Some(value));
        }
        Ok(self)
    }

    fn end(self) -> Result<Vec<String>, RuntimeError> {
        match self.0.iter().find(|argument| argument.contains('\0')) {
            None => Ok(self.0),
            Some(argument) => {
                let name = argument.split('=').next().unwrap_or_default().trim_start_matches('-');
                Err(RuntimeError::Failed(format!("{name}: pct takes no value with a NUL in it")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn vmid() -> Vmid {
        "100".parse().unwrap()
    }

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn creation(restore: bool) -> Creation {
        Creation {
            vmid: vmid(),
            archive: "local:vztmpl/x.tar.zst".to_owned(),
            restore,
            options: options(&[("hostname", "box"), ("net0", "name=eth0,bridge=vmbr0")]),
            password: Some("topsecret".into()),
            ssh_keys: Some("/run/keys".into()),
        }
    }

    #[rstest]
    #[case(PctCall::Start { vmid: vmid(), skiplock: false, debug: false }, "start 100")]
    #[case(
        PctCall::Start { vmid: vmid(), skiplock: true, debug: true },
        "start 100 --skiplock=1 --debug=1"
    )]
    #[case(PctCall::Stop { vmid: vmid(), skiplock: true }, "stop 100 --skiplock=1")]
    #[case(
        PctCall::Shutdown { vmid: vmid(), timeout: Some(7), force: true },
        "shutdown 100 --forceStop=1 --timeout=7"
    )]
    #[case(PctCall::Shutdown { vmid: vmid(), timeout: None, force: false }, "shutdown 100")]
    #[case(PctCall::Reboot { vmid: vmid(), timeout: Some(9) }, "reboot 100 --timeout=9")]
    #[case(PctCall::Suspend { vmid: vmid() }, "suspend 100")]
    #[case(PctCall::Resume { vmid: vmid() }, "resume 100")]
    #[case(
        PctCall::Create(creation(false)),
        "create 100 local:vztmpl/x.tar.zst --hostname=box --net0=name=eth0,bridge=vmbr0 \
         --ssh-public-keys=/run/keys --password"
    )]
    #[case(
        PctCall::Create(Creation { password: None, ssh_keys: None, ..creation(true) }),
        "restore 100 local:vztmpl/x.tar.zst --hostname=box --net0=name=eth0,bridge=vmbr0"
    )]
    #[case(
        PctCall::Set { vmid: vmid(), config: Config {
            set: options(&[("memory", "64"), ("description", "")]),
            delete: vec!["mp0".to_owned(), "tags".to_owned()],
            revert: vec!["cores".to_owned()],
            digest: Some("d".to_owned()),
        } },
        "set 100 --description= --memory=64 --delete=mp0,tags --revert=cores --digest=d"
    )]
    #[case(
        PctCall::Destroy { vmid: vmid(), force: true, unreferenced: true, purge: true },
        "destroy 100 --force=1 --destroy-unreferenced-disks=1 --purge=1"
    )]
    #[case(
        PctCall::Snapshot { vmid: vmid(), name: "s1".to_owned(), description: Some("--x".to_owned()) },
        "snapshot 100 s1 --description=--x"
    )]
    #[case(
        PctCall::DeleteSnapshot { vmid: vmid(), name: "s1".to_owned(), force: true },
        "delsnapshot 100 s1 --force=1"
    )]
    #[case(
        PctCall::Rollback { vmid: vmid(), name: "s1".to_owned(), start: true },
        "rollback 100 s1 --start=1"
    )]
    #[case(
        PctCall::Clone { vmid: vmid(), to: "200".parse().unwrap(), options: options(&[("full", "1")]) },
        "clone 100 200 --full=1"
    )]
    #[case(
        PctCall::Resize { vmid: vmid(), disk: "mp0".to_owned(), size: "+1G".to_owned(), digest: None },
        "resize 100 mp0 +1G"
    )]
    #[case(
        PctCall::Move {
            vmid: vmid(), disk: "rootfs".to_owned(), storage: "fast".parse().unwrap(),
            options: options(&[("delete", "1")]),
        },
        "move-volume 100 rootfs fast --delete=1"
    )]
    #[case(
        PctCall::Reassign {
            vmid: vmid(), disk: "mp0".to_owned(), to: "200".parse().unwrap(), key: "mp1".to_owned(),
            options: options(&[]),
        },
        "move-volume 100 mp0 --target-vmid=200 --target-volume=mp1"
    )]
    #[case(PctCall::Template { vmid: vmid() }, "template 100")]
    #[case(
        PctCall::Migrate {
            vmid: vmid(), target: "pve2".to_owned(), options: options(&[("restart", "1")])
        },
        "migrate 100 pve2 --restart=1"
    )]
    fn writes_the_command_line(#[case] call: PctCall, #[case] line: &str) {
        assert_eq!(call.argv().unwrap().join(" "), line);
    }

    #[rstest]
    #[case::option_for_a_name(
        PctCall::Snapshot { vmid: vmid(), name: "--force".to_owned(), description: None },
        "'--force' cannot be an argument of pct"
    )]
    #[case::standard_input(
        PctCall::Create(Creation { archive: "-".to_owned(), ..creation(true) }),
        "'-' cannot be an argument of pct"
    )]
    #[case::no_size(
        PctCall::Resize { vmid: vmid(), disk: "mp0".to_owned(), size: String::new(), digest: None },
        "'' cannot be an argument of pct"
    )]
    #[case::nul(
        PctCall::Set { vmid: vmid(), config: Config {
            set: options(&[("env", "A=1\0B=2")]), ..Config::default()
        } },
        "env: pct takes no value with a NUL in it"
    )]
    #[case::odd_key(
        PctCall::Set { vmid: vmid(), config: Config {
            set: options(&[("x=1 --lock", "")]), ..Config::default()
        } },
        "'x=1 --lock' cannot be an option of pct"
    )]
    fn refuses_what_could_be_taken_for_something_else(#[case] call: PctCall, #[case] why: &str) {
        assert_eq!(call.argv().unwrap_err().to_string(), why);
    }

    #[test]
    fn shows_the_password_to_nobody() {
        let call = PctCall::Create(creation(false));
        assert!(!format!("{call:?} {:?}", call.argv().unwrap()).contains("topsecret"));
    }
}
