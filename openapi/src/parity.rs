//! What becomes of each method of PVE's: `parity.toml`, read. Whether it is true is for a test of
//! the router to say.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `served`: by the daemon itself. `forwarded`: to PVE's own daemon where there is one, else 501.
/// `refused`: always 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Served,
    Forwarded,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub status: Status,
    /// Why it is not served.
    pub reason: Option<String>,
}

/// A line that does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    #[error("cannot parse the list")]
    Syntax(#[from] toml::de::Error),
    #[error("{0} is not served, and no reason is given")]
    NoReason(String),
    #[error("{0} is served, and yet a reason is given why not")]
    NeedlessReason(String),
}

/// By verb and path, say `GET /nodes/{node}/lxc`.
pub type Parity = BTreeMap<String, Entry>;

/// The list that this was built with.
pub fn parity() -> Result<Parity, ParityError> {
    parse(include_str!("../parity.toml"))
}

fn parse(text: &str) -> Result<Parity, ParityError> {
    let list: Parity = toml::from_str(text)?;
    for (method, entry) in &list {
        match (entry.status, &entry.reason) {
            (Status::Forwarded | Status::Refused, None) => {
                return Err(ParityError::NoReason(method.clone()));
            }
            (Status::Served, Some(_)) => return Err(ParityError::NeedlessReason(method.clone())),
            (Status::Served, None) | (Status::Forwarded | Status::Refused, Some(_)) => {}
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;
    use crate::schema::methods;

    #[test]
    fn lists_pve_s_methods_and_no_other() {
        let listed: BTreeSet<_> = parity().unwrap().into_keys().collect();
        // Ours, and what stands beside PVE's container part.
        let other = |path: &str| {
            let beside = ["/qemu", "/replication"].iter().any(|end| path.ends_with(end));
            path.contains("{node}/oci") || path == "/" || path.starts_with("/cluster/ha/") || beside
        };
        let table = methods().iter().filter(|method| !other(method.path));
        let table: BTreeSet<_> = table.map(|m| format!("{} {}", m.method, m.path)).collect();
        assert_eq!(listed, table);
        assert_eq!(listed.len(), 204);
    }

    #[rstest]
    #[case::no_reason(
        r#""GET /x" = { status = "refused" }"#,
        "GET /x is not served, and no reason is given"
    )]
    #[case::needless(
        r#""GET /x" = { status = "served", reason = "y" }"#,
        "GET /x is served, and yet a reason is given why not"
    )]
    #[case::unknown(r#""GET /x" = { status = "maybe" }"#, "cannot parse the list")]
    fn refuses(#[case] text: &str, #[case] message: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
}
