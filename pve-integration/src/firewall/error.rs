//! Why a firewall was not read or changed, in PVE's words.

use std::io;

use crate::cluster_lock::LockError;

#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("{name}: {text}")]
    Param { name: String, text: String },
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    #[error("no such IPSet '{0}'")]
    NoIpSet(String),
    #[error("IPSet '{0}' is not empty")]
    IpSetNotEmpty(String),
    #[error("no such alias '{0}'")]
    NoAlias(String),
    #[error("value does not look like a valid IP address or CIDR network")]
    Address,
    #[error("no rule at position {0}")]
    NoRule(u64),
    /// Perl's words where PVE asks a file that is not there for its rules.
    #[error("Can't use an undefined value as an ARRAY reference")]
    NoRules,
    #[error("detected mixed ipv4/ipv6 addresses in rule")]
    MixedFamilies,
    /// Of a line that somebody else wrote; PVE does not write it again.
    #[error("unknown rule type '{0}'")]
    RuleType(String),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FirewallError {
    pub(super) fn param(name: &str, text: impl Into<String>) -> Self {
        Self::Param { name: name.to_owned(), text: text.into() }
    }
}
