//! The daemon's settings: `etc/proxmox-lxcri/config.toml` below the root, or the file named on the
//! command line. Flags win over it; `serve` puts the two together.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use openapi::{InvalidNodeName, NodeName};
use serde::Deserialize;

use crate::pveproxy::RawSettings;

/// As written in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    listen: Option<String>,
    node: Option<String>,
    monitor: Option<PathBuf>,
    pveproxy: Option<RawSettings>,
}

/// What the file says, checked. What it leaves out is decided by `serve`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) node: Option<NodeName>,
    pub(crate) monitor: Option<PathBuf>,
    pub(crate) pveproxy: Option<RawSettings>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings: {0}")]
    Read(#[from] io::Error),
    #[error("{path}: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("{path}: listen = \"{value}\" is no ADDRESS:PORT")]
    Listen { path: PathBuf, value: String },
    #[error("{path}: node = \"{value}\": {source}")]
    Node { path: PathBuf, value: String, source: InvalidNodeName },
    #[error("{path}: monitor = \"{value}\" is no absolute path")]
    Monitor { path: PathBuf, value: PathBuf },
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
                let reason = err.message().to_owned();
                return Err(ConfigError::Syntax { path, reason });
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
        match raw.monitor {
            Some(value) if value.is_relative() => Err(ConfigError::Monitor { path, value }),
            monitor => Ok(Self { listen, node, monitor, pveproxy: raw.pveproxy }),
        }
    }
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
             [pveproxy]\nurl = \"https://127.0.0.1:8007\"\n",
        )
        .unwrap();

        assert_eq!(config.listen, Some("[::]:8006".parse().unwrap()));
        assert_eq!(config.node, Some("pve1".parse().unwrap()));
        assert_eq!(config.monitor, Some("/usr/libexec/lxcri-monitor".into()));
        assert!(config.pveproxy.is_some());
    }

    #[test]
    fn needs_nothing() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[rstest]
    #[case::unknown("listne = \"x\"", "listne")]
    #[case::no_port("listen = \"127.0.0.1\"", "no ADDRESS:PORT")]
    #[case::bad_node("node = \"a b\"", "node = \"a b\"")]
    #[case::relative("monitor = \"lxcri-monitor\"", "no absolute path")]
    #[case::unknown_of_pveproxy("[pveproxy]\nport = 1", "port")]
    #[case::broken("listen", "config.toml")]
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
