//! Who may call a method, as PVE states it. Judging a caller by it is the daemon's.

use serde::Deserialize;
use serde_json::Value;

use crate::Privilege;

/// Who may call a method. A method without any is root@pam's alone, who may call all of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Stated")]
pub enum Permissions {
    /// Even those who are not logged in.
    World,
    /// Whoever is logged in.
    All,
    Check(Rule),
}

/// What is asked of a caller. `path` may hold `{parameters}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    /// All of the privileges on the path, or any; nobody passes without the named parameter.
    Perm {
        path: String,
        privileges: Vec<Privilege>,
        any: bool,
        require_param: Option<String>,
    },
    /// The right to change the permissions of the path.
    PermModify {
        path: String,
    },
    /// The parameter `userid` is the caller.
    UserIsCaller,
    /// `Realm.AllocateUser` on the realm of the parameter `userid`.
    RealmOfUser,
    /// Any of the privileges on a group of the parameter `userid`, or on all groups.
    /// `groups_param` is `create` or `update` where those groups are themselves parameters.
    UserGroup {
        privileges: Vec<Privilege>,
        groups_param: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    user: Option<String>,
    check: Option<Value>,
}

impl TryFrom<Stated> for Permissions {
    type Error = String;

    fn try_from(stated: Stated) -> Result<Self, String> {
        // pve-access-control asks `user` first, and what it allows needs no check.
        match (stated.user.as_deref(), &stated.check) {
            (Some("world"), _) => Ok(Self::World),
            (Some("all"), _) => Ok(Self::All),
            (None, Some(check)) => rule(check).map(Self::Check),
            (user, _) => Err(format!("neither a known user nor a check: {user:?}")),
        }
    }
}

fn rule(stated: &Value) -> Result<Rule, String> {
    let unknown = || format!("unknown permission check {stated}");
    let list = stated.as_array().ok_or_else(unknown)?;
    let (test, rest) = list.split_first().ok_or_else(unknown)?;
    let rules = || rest.iter().map(rule).collect::<Result<Vec<_>, _>>();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // Options follow as a flat list of names and values.
    let option = |from: usize, name: &str| {
        let options = rest.get(from..).unwrap_or_default();
        options.chunks(2).find(|pair| pair[0] == name).and_then(|pair| pair.get(1))
    };
    match (test.as_str().ok_or_else(unknown)?, rest) {
        ("and", _) => rules().map(Rule::And),
        ("or", _) => rules().map(Rule::Or),
        ("perm", [path, privileges, ..]) => Ok(Rule::Perm {
            path: text(path).ok_or_else(unknown)?,
            privileges: privileges_of(privileges)?,
            any: option(2, "any").is_some_and(|any| *any == 1),
            require_param: option(2, "require_param").and_then(text),
        }),
        ("perm-modify", [path]) => Ok(Rule::PermModify { path: text(path).ok_or_else(unknown)? }),
        ("userid-param", [who]) if who == "self" => Ok(Rule::UserIsCaller),
        ("userid-param", [who]) if who == "Realm.AllocateUser" => Ok(Rule::RealmOfUser),
        ("userid-group", [privileges, ..]) => Ok(Rule::UserGroup {
            privileges: privileges_of(privileges)?,
            groups_param: option(1, "groups_param").and_then(text),
        }),
        _ => Err(unknown()),
    }
}

fn privileges_of(stated: &Value) -> Result<Vec<Privilege>, String> {
    Vec::<Privilege>::deserialize(stated).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"user": "world"}), Permissions::World)]
    #[case(json!({"user": "all", "check": ["perm", "/", ["Sys.Audit"]]}), Permissions::All)]
    #[case(json!({"check": ["perm-modify", "{path}"]}),
        Permissions::Check(Rule::PermModify { path: "{path}".into() }))]
    #[case(json!({"check": ["or",
            ["userid-param", "self"],
            ["and", ["userid-param", "Realm.AllocateUser"],
                ["userid-group", ["User.Modify"], "groups_param", "create"]],
            ["perm", "/pool/{pool}", ["VM.Allocate"], "require_param", "pool", "any", 1]]}),
        Permissions::Check(Rule::Or(vec![
            Rule::UserIsCaller,
            Rule::And(vec![
                Rule::RealmOfUser,
                Rule::UserGroup {
                    privileges: vec![Privilege::UserModify],
                    groups_param: Some("create".into()),
                },
            ]),
            Rule::Perm {
                path: "/pool/{pool}".into(),
                privileges: vec![Privilege::VmAllocate],
                any: true,
                require_param: Some("pool".into()),
            },
        ])))]
    fn reads(#[case] stated: Value, #[case] meant: Permissions) {
        assert_eq!(serde_json::from_value::<Permissions>(stated).unwrap(), meant);
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!({"user": "some"}))]
    #[case(json!({"check": ["not", ["perm", "/", []]]}))]
    #[case(json!({"check": ["perm", "/", ["No.Such"]]}))]
    fn refuses_what_it_does_not_know(#[case] stated: Value) {
        assert!(serde_json::from_value::<Permissions>(stated).is_err());
    }
}
