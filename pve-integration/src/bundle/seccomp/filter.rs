//! System call rules, typed: what the bundle and LXC's profile are both made of.

use serde_json::{Value, json};

use super::EPERM;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u32),
}

/// Holds if the argument's bits under `mask` are `bits`. The kernel cuts many arguments to 32 bits, so
/// whole values are compared as `mask: 0xffff_ffff`: what lies above would slip through otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) index: u32,
    pub(super) mask: u64,
    pub(super) bits: u64,
}

impl Bits {
    /// A 32-bit argument that is `value`.
    pub(super) fn word(index: u32, value: u32) -> Self {
        Self { index, mask: u64::from(u32::MAX), bits: value.into() }
    }

    /// Patterns of which exactly one holds for each argument that is not `bits` under `mask`. A filter
    /// can say what an argument is under a mask, and not, in a list of what is allowed, what it is not.
    pub(super) fn all_but(index: u32, mask: u64, bits: u64) -> Vec<Self> {
        let places = (0..u64::BITS).rev().map(|place| 1_u64 << place).filter(|bit| mask & bit != 0);
        let pattern = |bit: u64| {
            let above = mask & !(bit | (bit - 1));
            Self { index, mask: above | bit, bits: (bits & above) | (!bits & bit) }
        };
        places.map(pattern).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    /// `None` for every call of that name.
    pub(super) when: Option<Bits>,
}

impl Rule {
    pub(super) fn all<S: AsRef<str>>(action: Action, names: &[S]) -> Self {
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self { names, action, when: None }
    }

    pub(super) fn when(action: Action, name: &str, when: Bits) -> Self {
        Self { names: vec![name.to_owned()], action, when: Some(when) }
    }
}

/// Rules of one name must not overlap; libseccomp would pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
}

impl Filter {
    /// Whatever was said of them so far.
    pub(super) fn deny(&mut self, names: &[String]) {
        for rule in &mut self.rules {
            rule.names.retain(|name| !names.contains(name));
        }
        self.rules.retain(|rule| !rule.names.is_empty());
        if !names.is_empty() {
            self.rules.push(Rule::all(Action::Errno(EPERM), names));
        }
    }

    /// The bundle's `linux.seccomp`.
    pub(super) fn to_value(&self, architectures: &[&str]) -> Value {
        let rules: Vec<Value> = self.rules.iter().map(rule).collect();
        let mut value = json!({
            "defaultAction": name(self.default),
            "architectures": architectures,
            "syscalls": rules,
        });
        if let Action::Errno(errno) = self.default {
            value["defaultErrnoRet"] = errno.into();
        }
        value
    }

    /// What a call with this argument gets.
    #[cfg(test)]
    pub(super) fn verdict(&self, name: &str, index: u32, argument: u64) -> Action {
        let holds = |rule: &&Rule| {
            rule.names.iter().any(|other| other == name)
                && rule
                    .when
                    .is_none_or(|when| when.index == index && argument & when.mask == when.bits)
        };
        self.rules.iter().find(holds).map_or(self.default, |rule| rule.action)
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::Allow => "SCMP_ACT_ALLOW",
        Action::Errno(_) => "SCMP_ACT_ERRNO",
    }
}

fn rule(rule: &Rule) -> Value {
    let mut value = json!({ "names": rule.names, "action": name(rule.action) });
    if let Action::Errno(errno) = rule.action {
        value["errnoRet"] = errno.into();
    }
    if let Some(Bits { index, mask, bits }) = rule.when {
        // OCI's `value` is libseccomp's mask here.
        value["args"] = json!([{ "index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" }]);
    }
    value
}
