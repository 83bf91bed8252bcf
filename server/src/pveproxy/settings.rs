//! Whether there is a pveproxy, where, and by which certificates it is known.

use std::path::{Path, PathBuf};

use openapi::NodeName;
use pve_integration::access::is_cluster;
use pve_integration::layout::Root;
use reqwest::Url;
use serde::Deserialize;

const DEFAULT: &str = "https://127.0.0.1:8006";
const PROGRAM: &str = "/usr/bin/pveproxy";

/// `[pveproxy]` of the daemon's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSettings {
    enabled: Option<bool>,
    url: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) url: Url,
    /// Who signs the nodes' certificates.
    pub(super) ca: Option<PathBuf>,
    /// Files of certificates that are taken as they are: the node's own, and the one that an
    /// administrator gave pveproxy.
    pub(super) pins: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("pveproxy: url = \"{0}\" is no https://HOST:PORT")]
    Url(String),
    #[error("pveproxy: {0} is this daemon itself")]
    Itself(String),
    #[error("pveproxy: cannot prepare requests: {0}")]
    Client(#[from] reqwest::Error),
}

impl Settings {
    /// Without a word in the settings there is one where PVE is installed and runs.
    pub(crate) fn of(
        raw: Option<&RawSettings>,
        root: &Root,
        node: &NodeName,
    ) -> Result<Option<Self>, SettingsError> {
        let raw = raw.cloned().unwrap_or_default();
        if !raw.enabled.unwrap_or(raw.url.is_some() || on_pve(root)) {
            return Ok(None);
        }
        let text = raw.url.unwrap_or_else(|| DEFAULT.to_owned());
        let url: Url = text.parse().map_err(|_| SettingsError::Url(text.clone()))?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if url.scheme() != "https" || !bare {
            return Err(SettingsError::Url(text));
        }
        let own = root.node_dir(node);
        Ok(Some(Self {
            url,
            ca: Some(root.etc_pve().join("pve-root-ca.pem")),
            pins: vec![own.join("pveproxy-ssl.pem"), own.join("pve-ssl.pem")],
        }))
    }
}

/// Where PVE is installed and runs.
pub(crate) fn on_pve(root: &Root) -> bool {
    root.prefix() == Path::new("/") && is_cluster(root) && Path::new(PROGRAM).exists()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(text: &str) -> Result<Option<String>, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let raw: Option<RawSettings> = (!text.is_empty()).then(|| toml::from_str(text).unwrap());
        let settings = Settings::of(raw.as_ref(), &root, &"pve1".parse().unwrap())?;
        Ok(settings.map(|settings| settings.url.to_string()))
    }

    #[rstest]
    #[case::standalone("", None)]
    #[case::told("url = \"https://pve1:8007\"", Some("https://pve1:8007/"))]
    #[case::usual("enabled = true", Some("https://127.0.0.1:8006/"))]
    #[case::off("enabled = false\nurl = \"https://pve1:8007\"", None)]
    fn is_there(#[case] text: &str, #[case] url: Option<&str>) {
        assert_eq!(of(text).unwrap().as_deref(), url);
    }

    #[rstest]
    #[case("url = \"http://127.0.0.1:8006\"")]
    #[case("url = \"127.0.0.1:8006\"")]
    #[case("url = \"https://pve1:8006/api2\"")]
    #[case("url = \"https://root@pve1:8006\"")]
    fn refuses(#[case] text: &str) {
        assert!(matches!(of(text), Err(SettingsError::Url(_))));
    }
}
