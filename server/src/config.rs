//! The daemon's settings: `etc/proxmox-lxcri/config.toml` below the root, or the file named on the
//! command line. Flags win over it; `serve` puts the two together.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use openapi::{InvalidNodeName, NodeName};
use serde::Deserialize;

use crate::bind_mounts::{BindMounts, RawBindMount};
use crate::pveproxy::RawSettings;
use crate::runtime::Settings;
use crate::runtime::rules;

/// As written in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    listen: Option<String>,
    node: Option<String>,
    monitor: Option<PathBuf>,
    #[serde(rename = "lxc-monitor")]
    lxc_monitor: Option<PathBuf>,
    pveproxy: Option<RawSettings>,
    #[serde(default)]
    runtime: rules::RawSettings,
    #[serde(default, rename = "bind-mount")]
    bind_mounts: Vec<RawBindMount>,
}

/// What the file says, checked. What it leaves out is decided by `serve`.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) node: Option<NodeName>,
    pub(crate) monitor: Option<PathBuf>,
    pub(crate) lxc_monitor: Option<PathBuf>,
    pub(crate) pveproxy: Option<RawSettings>,
    pub(crate) runtime: Settings,
    pub(crate) bind_mounts: BindMounts,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings: {0}")]
    Read(#[from] io::Error),
    #[error("{path}: line {line}: {reason}")]
    Syntax { path: PathBuf, line: usize, reason: String },
    #[error("{path}: listen = \"{value}\" is no ADDRESS:PORT")]
    Listen { path: PathBuf, value: String },
    #[error("{path}: node = \"{value}\": {source}")]
    Node { path: PathBuf, value: String, source: InvalidNodeName },
    #[error("{path}: {key} = \"{value}\" is no absolute path")]
    Relative { path: PathBuf, key: &'static str, value: PathBuf },
}

impl Config {
    /// A file that is not there says nothing, unless somebody named it.
    pub(crate) fn read(path: &Path, named: bool) -> Result<Self, ConfigError> {
        match fs_err::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(err) if err.kind() == io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(err) => Err(err.into()),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let raw: RawConfig = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(err) => {
                let line = line_of(text, err.span().map_or(0, |span| span.start));
                let reason = err.message().to_owned();
                return Err(ConfigError::Syntax { path, line, reason });
            }
        };
        let listen = match raw.listen {
            None => None,
            Some(value) => match value.parse() {
                Ok(address) => Some(address),
                Err(_) => return Err(ConfigError::Listen { path, value }),
            },
        };
        let node = match raw.node {
            None => None,
            Some(value) => match value.parse() {
                Ok(node) => Some(node),
                Err(source) => return Err(ConfigError::Node { path, value, source }),
            },
        };
        let checked = Settings::check(raw.runtime)
            .and_then(|runtime| Ok((runtime, BindMounts::check(raw.bind_mounts)?)));
        let (runtime, bind_mounts) = match checked {
            Ok(checked) => checked,
            Err(rules::Mistake { at, reason }) => {
                return Err(ConfigError::Syntax { path, line: line_of(text, at.start), reason });
            }
        };
        let (monitor, lxc_monitor, pveproxy) = (raw.monitor, raw.lxc_monitor, raw.pveproxy);
        for (key, program) in [("monitor", &monitor), ("lxc-monitor", &lxc_monitor)] {
            if let Some(value) = program.clone().filter(|value| value.is_relative()) {
                return Err(ConfigError::Relative { path, key, value });
            }
        }
        Ok(Self { listen, node, monitor, lxc_monitor, pveproxy, runtime, bind_mounts })
    }
}

/// Counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("config.toml"))
    }

    #[test]
    fn takes_every_setting() {
        let config = parse(
            "listen = \"[::]:8006\"\nnode = \"pve1\"\nmonitor = \"/usr/libexec/lxcri-monitor\"\n\
             lxc-monitor = \"/usr/libexec/lxcri-lxc-monitor\"\n\
             [pveproxy]\nurl = \"https://127.0.0.1:8007\"\n",
        )
        .unwrap();

        assert_eq!(config.listen, Some("[::]:8006".parse().unwrap()));
        assert_eq!(config.node, Some("pve1".parse().unwrap()));
        assert_eq!(config.monitor, Some("/usr/libexec/lxcri-monitor".into()));
        assert_eq!(config.lxc_monitor, Some("/usr/libexec/lxcri-lxc-monitor".into()));
        assert!(config.pveproxy.is_some());
    }

    #[test]
    fn needs_nothing() {
        let config = parse("").unwrap();

        assert!(config.listen.is_none() && config.node.is_none());
        assert!(config.monitor.is_none() && config.lxc_monitor.is_none());
        assert!(config.pveproxy.is_none() && config.runtime.lxc_start.is_none());
    }

    #[test]
    fn the_shipped_example_says_everything_and_sets_nothing() {
        let shipped = include_str!("../../packaging/config.toml");
        assert_eq!(format!("{:?}", parse(shipped).unwrap()), format!("{:?}", parse("").unwrap()));
        let in_force: String = shipped
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = parse(&in_force).unwrap();
        assert!(config.listen.is_some() && config.node.is_some());
        assert!(config.monitor.is_some() && config.lxc_monitor.is_some());
        assert!(config.pveproxy.is_some() && config.runtime.lxc_start.is_some());
        assert_eq!(config.runtime.pct, Some("/usr/sbin/pct".into()));
        assert_ne!(config.bind_mounts, BindMounts::default());
    }

    #[rstest]
    #[case::unknown("listne = \"x\"", "listne")]
    #[case::no_port("listen = \"127.0.0.1\"", "no ADDRESS:PORT")]
    #[case::bad_node("node = \"a b\"", "node = \"a b\"")]
    #[case::relative("monitor = \"lxcri-monitor\"", "monitor = \"lxcri-monitor\" is no absolute")]
    #[case::relative_too("lxc-monitor = \"m\"", "lxc-monitor = \"m\" is no absolute path")]
    #[case::unknown_of_pveproxy("[pveproxy]\nport = 1", "port")]
    #[case::broken("listen", "config.toml")]
    #[case::line_of_a_word("\nnode = \"pve1\"\nlistne = 1", "config.toml: line 3: ")]
    #[case::rule(
        "[[runtime.rule]]\nvmid = \"1*\"\nruntime = \"runc\"",
        "config.toml: line 3: there is no runtime 'runc'"
    )]
    #[case::expression(
        "[[runtime.rule]]\nhostname = \"^(x$\"\nruntime = \"lxc\"",
        "config.toml: line 2: '^(x$' is no regular expression"
    )]
    #[case::rule_without_runtime("[[runtime.rule]]\nvmid = \"1\"", "missing field `runtime`")]
    #[case::bind_mount("[[bind-mount]]\npath = \"srv\"", "line 2: path = \"srv\" is no absolute")]
    #[case::relative_pct("[runtime]\npct = \"pct\"", "line 2: pct = ")]
    #[case::relative_lxc("[runtime]\nlxc-start = \"lxc-start\"", "line 2: lxc-start = ")]
    fn refuses_and_names(#[case] text: &str, #[case] named: &str) {
        let message = parse(text).unwrap_err().to_string();

        assert!(message.contains(named), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn misses_only_a_file_that_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");

        assert!(Config::read(&path, false).is_ok());
        assert!(Config::read(&path, true).is_err());
    }
}
