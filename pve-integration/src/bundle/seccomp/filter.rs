//! System call rules, typed: what the bundle and LXC's profile are both made of.

use serde_json::{Value, json};

use super::EPERM;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u32),
    /// The thread that makes it.
    Kill,
    /// SIGSYS.
    Trap,
    /// Whoever has the listener says.
    Ask,
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

/// What libseccomp compares besides bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// What one argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Bits(Bits),
    /// All 64 bits, as numbers without a sign.
    Whole {
        index: u32,
        operator: Operator,
        value: u64,
    },
}

impl Test {
    pub(super) fn index(self) -> u32 {
        match self {
            Self::Bits(Bits { index, .. }) | Self::Whole { index, .. } => index,
        }
    }

    #[cfg(test)]
    fn holds(self, argument: u64) -> bool {
        match self {
            Self::Bits(Bits { mask, bits, .. }) => argument & mask == bits,
            Self::Whole { operator, value, .. } => match operator {
                Operator::NotEqual => argument != value,
                Operator::Less => argument < value,
                Operator::LessOrEqual => argument <= value,
                Operator::Equal => argument == value,
                Operator::GreaterOrEqual => argument >= value,
                Operator::Greater => argument > value,
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    /// All of them, each of another argument; none for every call of that name.
    pub(super) when: Vec<Test>,
}

impl Rule {
    pub(super) fn all<S: AsRef<str>>(action: Action, names: &[S]) -> Self {
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self { names, action, when: Vec::new() }
    }

    pub(super) fn when(action: Action, name: &str, when: Bits) -> Self {
        Self { names: vec![name.to_owned()], action, when: vec![Test::Bits(when)] }
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

    /// Let the listener answer calls with such an argument, and what was said so far all others.
    pub(super) fn ask(&mut self, name: &str, when: Bits) {
        let whole = |rule: &Rule| rule.when.is_empty() && rule.names.iter().any(|n| n == name);
        let said = self.rules.iter().find(|rule| whole(rule)).map(|rule| rule.action);
        for rule in &mut self.rules {
            rule.names.retain(|other| other != name);
        }
        if let Some(said) = said {
            let others = Bits::all_but(when.index, when.mask, when.bits);
            self.rules.extend(others.into_iter().map(|when| Rule::when(said, name, when)));
        }
        self.rules.push(Rule::when(Action::Ask, name, when));
    }

    /// Whether there is to be a listener.
    pub(super) fn asks(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Ask)
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
                && rule.when.iter().all(|test| test.index() == index && test.holds(argument))
        };
        self.rules.iter().find(holds).map_or(self.default, |rule| rule.action)
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::Allow => "SCMP_ACT_ALLOW",
        Action::Errno(_) => "SCMP_ACT_ERRNO",
        Action::Kill => "SCMP_ACT_KILL",
        Action::Trap => "SCMP_ACT_TRAP",
        Action::Ask => "SCMP_ACT_NOTIFY",
    }
}

fn rule(rule: &Rule) -> Value {
    let mut value = json!({ "names": rule.names, "action": name(rule.action) });
    if let Action::Errno(errno) = rule.action {
        value["errnoRet"] = errno.into();
    }
    if !rule.when.is_empty() {
        value["args"] = rule.when.iter().map(test).collect();
    }
    value
}

fn test(test: &Test) -> Value {
    let (index, operator, value) = match *test {
        // OCI's `value` is libseccomp's mask here.
        Test::Bits(Bits { index, mask, bits }) => {
            return json!({ "index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" });
        }
        Test::Whole { index, operator, value } => (index, operator, value),
    };
    let op = match operator {
        Operator::NotEqual => "SCMP_CMP_NE",
        Operator::Less => "SCMP_CMP_LT",
        Operator::LessOrEqual => "SCMP_CMP_LE",
        Operator::Equal => "SCMP_CMP_EQ",
        Operator::GreaterOrEqual => "SCMP_CMP_GE",
        Operator::Greater => "SCMP_CMP_GT",
    };
    json!({ "index": index, "value": value, "op": op })
}
