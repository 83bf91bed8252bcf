//! What an image's config asks for, and what becomes of it in a container's config: a mapping that is
//! `restore_oci_archive` of pve-container's `PVE/LXC/Create.pm`. Where PVE lets the image overrule
//! the request, the request wins here.

use std::collections::BTreeMap;

use openapi::property_string;
use openapi::schema::config_key;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::accounts::{Accounts, Ids, InvalidUser, User};
use crate::ct_config::ContainerConfig;
use crate::shell_quote::shell_quote;

const INIT: &str = "/sbin/init";

/// The `config` object of an image's config file. Nulls are what nobody set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    env: Option<Vec<String>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, Value>>,
}

/// What the monitor tells the daemon of an image that it unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    pub config: ImageConfig,
    pub ids: Ids,
    /// Of the manifest.
    pub digest: String,
}

/// PVE's words, as far as it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageConfigError {
    #[error("Error while parsing OCI image: its config is not valid: {0}")]
    Json(String),
    #[error("OCI config value for '{0}' contains forbidden control characters!")]
    Value(&'static str),
    #[error("OCI config array-value for '{0}' contains forbidden control characters!")]
    Array(&'static str),
    #[error("OCI config data-volumes path contains forbidden control characters!")]
    Volumes,
    #[error("OCI config value for 'User' has an invalid format")]
    User,
    #[error("{0}: {1}")]
    Net(String, String),
}

/// What was done beyond the words of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub lines: Vec<String>,
    pub warnings: Vec<String>,
}

impl ImageConfig {
    /// From a whole config file. Refuses what no config of PVE's takes.
    pub fn parse(file: &[u8]) -> Result<Self, ImageConfigError> {
        #[derive(Deserialize)]
        struct File {
            config: Option<ImageConfig>,
        }
        let file: File =
            serde_json::from_slice(file).map_err(|err| ImageConfigError::Json(err.to_string()))?;
        let config = file.config.unwrap_or_default();
        config.check()?;
        Ok(config)
    }

    /// In PVE's order. A newline passes, as it does there: writing the config refuses it.
    fn check(&self) -> Result<(), ImageConfigError> {
        let bad = |text: &String| {
            text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x10'..='\x1f' | '\x7f'))
        };
        if self.volumes().any(|path| bad(&path.to_owned())) {
            return Err(ImageConfigError::Volumes);
        }
        let array = |name, list: &Option<Vec<String>>| match list {
            Some(list) if list.iter().any(bad) => Err(ImageConfigError::Array(name)),
            Some(_) | None => Ok(()),
        };
        let value = |name, text: &Option<String>| match text {
            Some(text) if bad(text) => Err(ImageConfigError::Value(name)),
            Some(_) | None => Ok(()),
        };
        array("Entrypoint", &self.entrypoint)?;
        array("Cmd", &self.cmd)?;
        value("User", &self.user)?;
        value("WorkingDir", &self.working_dir)?;
        array("Env", &self.env)?;
        value("StopSignal", &self.stop_signal)
    }

    /// Paths that are to be there, as the image has them.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.volumes.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| is_true(user))
    }

    /// Who the image's user is by its own `/etc/passwd` and `/etc/group`.
    pub fn ids(&self, accounts: &Accounts) -> Result<Ids, ImageConfigError> {
        let user = self.user().map(str::parse::<User>).transpose();
        let user = user.map_err(|InvalidUser| ImageConfigError::User)?;
        Ok(user.map(|user| accounts.ids(&user)).unwrap_or_default())
    }
}

/// What a container needs besides that has no init system.
pub fn complete_application(config: &mut ContainerConfig) -> Result<Said, ImageConfigError> {
    let mut said = Said::default();
    if config.is_application() {
        if config.get("cmode").is_none() {
            config.set("cmode", "console");
        }
        manage_nets(config, &mut said)?;
    }
    Ok(said)
}

/// Perl's truth.
fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0")
}

impl Unpacked {
    /// Into a config that has what was asked for.
    pub fn apply(&self, config: &mut ContainerConfig) -> Result<Said, ImageConfigError> {
        let image = &self.config;
        let mut said = Said::default();
        let command: Vec<&String> = image.entrypoint.iter().chain(&image.cmd).flatten().collect();
        if command.first().is_some_and(|program| *program != INIT) {
            if config.get("entrypoint").is_none() {
                let line: Vec<_> = command.iter().map(|word| shell_quote(word)).collect();
                config.set("entrypoint", line.join(" "));
            }
            said = complete_application(config)?;
        }
        let mut raw = config.current().lxc().to_vec();
        let mut push = |key: &str, value: String| raw.push((key.to_owned(), value));
        if let Some(user) = image.user() {
            match self.ids.uid {
                Some(uid) => push("lxc.init.uid", uid.to_string()),
                None => said.warnings.push(format!(
                    "the image's user '{}' is not in its /etc/passwd: it runs as root",
                    user.escape_default()
                )),
            }
            self.ids.gid.into_iter().for_each(|gid| push("lxc.init.gid", gid.to_string()));
            self.ids.groups.iter().for_each(|groups| push("lxc.init.groups", groups.clone()));
        }
        if let Some(folder) = image.working_dir.as_deref().filter(|folder| is_true(folder)) {
            push("lxc.init.cwd", folder.to_owned());
        }
        let signal = image.stop_signal.as_deref().filter(|signal| !signal.is_empty());
        push("lxc.signal.halt", signal.unwrap_or("SIGTERM").to_owned());
        config.current_mut().set_lxc(raw);
        if let Some(env) = &image.env {
            let env = merged(env, &config.env());
            if !env.is_empty() {
                config.set("env", env);
            }
        }
        Ok(said)
    }
}

/// The image's variables, but for those that were asked for otherwise, and the others of these.
fn merged(image: &[String], given: &[&str]) -> String {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let own = |variable: &String| {
        let same = |other: &&&str| name(other) == name(variable);
        given.iter().find(same).map_or(variable.as_str(), |given| given).to_owned()
    };
    let mut all: Vec<String> = image.iter().map(own).collect();
    let more = given.iter().filter(|given| !image.iter().any(|own| name(own) == name(given)));
    all.extend(more.map(|given| (*given).to_owned()));
    all.join("\0")
}

/// An application has nobody inside who sets up its network.
fn manage_nets(config: &mut ContainerConfig, said: &mut Said) -> Result<(), ImageConfigError> {
    let is_net = |key: &str| {
        key.strip_prefix("net")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let nets: Vec<(String, String)> = config
        .current()
        .iter()
        .filter(|(key, _)| is_net(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for (key, value) in nets {
        let schema = config_key(&key).and_then(|property| property.format.as_ref()?.keys());
        let Some(schema) = schema else { continue };
        let wrong = |err: property_string::PropertyStringError| {
            ImageConfigError::Net(key.clone(), err.to_string())
        };
        let mut values = property_string::parse(schema, &value).map_err(wrong)?;
        if values.contains_key("host-managed") {
            continue;
        }
        said.lines.push(format!("Auto-Enabling host-managed network for network device {key}."));
        values.insert("host-managed".to_owned(), Value::from(1));
        let printed = property_string::print(schema, &values).map_err(wrong)?;
        config.set(&key, printed);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
