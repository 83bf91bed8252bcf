//! A file of system call rules as LXC reads it (lxc.container.conf(5), SECCOMP; `parse_config_v2` in
//! LXC's `src/lxc/seccomp.c`), for a runtime that does not. Pure; the file is read elsewhere.
//!
//! What LXC refuses is refused here, and also what it would pass over without a word.

use super::filter::{Action, Bits, Filter, Operator, Rule, Test};
use crate::ct_config::Arch;

/// include/linux/err.h: what is above is no errno to the kernel.
const MAX_ERRNO: u32 = 4095;
/// A system call has no more arguments.
const ARGUMENTS: u64 = 6;
/// BPF_MAXINSNS: the kernel takes no filter with more instructions, and each rule needs one.
const MOST_RULES: usize = 4096;
/// Of a word in a message.
const LONGEST_SHOWN: usize = 60;

/// Architectures that LXC knows as the names of sections.
const SECTIONS: [&str; 18] = [
    "all",
    "arm",
    "arm64",
    "loongarch64",
    "mips",
    "mips64",
    "mips64n32",
    "mipsel",
    "mipsel64",
    "mipsel64n32",
    "ppc",
    "ppc64",
    "ppc64le",
    "s390",
    "s390x",
    "x32",
    "x86",
    "x86_64",
];

/// Rules that libseccomp takes, each with another answer than the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile(Filter);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ProfileError {
    line: usize,
    reason: Reason,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("a profile begins with its version, which is 2")]
    Version,
    #[error("version 1 is a list of numbers, which is not supported: version 2 has names")]
    Numbers,
    #[error("'{0}' is neither 'allowlist' nor 'denylist'")]
    Kind(String),
    #[error("'{0}' is no architecture that LXC knows")]
    Section(String),
    #[error("'{0}' is not the name of a system call")]
    Name(String),
    #[error("'{0}' is no action: allow, errno, kill, trap")]
    Action(String),
    #[error("the action '{0}' is not supported: nobody would answer")]
    Unanswered(&'static str),
    #[error("'{0}' is not an errno, which is 0 to {MAX_ERRNO}")]
    Errno(String),
    #[error("this is what every other call gets, so LXC and libseccomp refuse the rule")]
    Default,
    #[error("'{0}' is not '[index,value,operator]' or '[index,value,operator,mask]'")]
    Condition(String),
    #[error("argument {0} stands twice")]
    Twice(u32),
    #[error("nothing can follow: '{0}'")]
    Rest(String),
    #[error("the kernel takes no more than {MOST_RULES} rules")]
    TooMany,
}

impl Profile {
    /// `arch` is the host's.
    pub fn parse(text: &str, arch: Arch) -> Result<Self, ProfileError> {
        let mut last = 1;
        let lines = (1..).zip(text.lines()).inspect(|(number, _)| last = *number);
        parse(lines.map(|(_, line)| line.trim_end()), arch)
            .map_err(|reason| ProfileError { line: last, reason })
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.0
    }
}

/// What is wrong is wrong in the line that was taken last.
fn parse<'t>(mut lines: impl Iterator<Item = &'t str>, arch: Arch) -> Result<Profile, Reason> {
    // LXC reads the number with scanf, which passes over empty lines before and after it.
    let mut header = || lines.find(|line| !line.is_empty()).unwrap_or_default();
    match header().trim_start() {
        "2" => {}
        "1" => return Err(Reason::Numbers),
        _ => return Err(Reason::Version),
    }
    let (default, of_a_rule) = kind(header())?;
    let mut filter = Filter { default, rules: Vec::new() };
    let (mut concerned, mut count) = (true, 0);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            concerned = concerns(line, arch)?;
        } else if concerned {
            let rule = rule(line, of_a_rule)?;
            if rule.action == default {
                return Err(Reason::Default);
            }
            count += 1;
            if count > MOST_RULES {
                return Err(Reason::TooMany);
            }
            push(&mut filter.rules, rule);
        }
    }
    Ok(Profile(filter))
}

/// Names that are treated alike stand in one rule. Their order is kept: of two rules for one call
/// libseccomp looks at which came first.
fn push(rules: &mut Vec<Rule>, rule: Rule) {
    match rules.last_mut() {
        Some(last) if last.action == rule.action && last.when == rule.when => {
            last.names.extend(rule.names);
        }
        Some(_) | None => rules.push(rule),
    }
}

/// What calls get that no rule names, and what a rule without an action says.
fn kind(line: &str) -> Result<(Action, Action), Reason> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (default, of_a_rule) = match word {
        "denylist" | "blacklist" => (Action::Allow, Action::Kill),
        "allowlist" | "whitelist" => (Action::Kill, Action::Allow),
        _ => return Err(Reason::Kind(shown(word))),
    };
    let (action, rest) = action(rest)?;
    ended(rest)?;
    Ok((action.unwrap_or(default), of_a_rule))
}

/// Whether the rules of a section hold here. LXC asks no more than that: what holds for one of the
/// host's architectures it adds for all of them.
fn concerns(line: &str, arch: Arch) -> Result<bool, Reason> {
    let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let known = SECTIONS.into_iter().find(|known| *known == name || known.to_uppercase() == name);
    let known = known.ok_or_else(|| Reason::Section(shown(line)))?;
    let own: &[&str] = match arch {
        Arch::Amd64 => &["x86_64", "x86", "x32"],
        Arch::I386 => &["x86"],
        Arch::Arm64 => &["arm64", "arm"],
        Arch::Armhf => &["arm"],
        Arch::Riscv32 | Arch::Riscv64 => &[],
    };
    Ok(known == "all" || own.contains(&known))
}

fn rule(line: &str, default: Action) -> Result<Rule, Reason> {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    if name == "reject_force_umount" {
        ended(rest)?;
        return Ok(super::no_forced_umount());
    }
    // One that libseccomp does not know is passed over, by LXC as by libcrun, which says so.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Reason::Name(shown(name)));
    }
    let (action, rest) = action(rest)?;
    let when = conditions(rest)?;
    Ok(Rule { names: vec![name.to_owned()], action: action.unwrap_or(default), when })
}

/// The action that `text` begins with, if it has any, and what follows. LXC wants one in front of
/// conditions.
fn action(text: &str) -> Result<(Option<Action>, &str), Reason> {
    let text = text.trim_start();
    if text.is_empty() || text.starts_with('#') {
        return Ok((None, text));
    }
    let (name, rest) = word(text);
    match name {
        "allow" => Ok((Some(Action::Allow), rest)),
        "kill" => Ok((Some(Action::Kill), rest)),
        "trap" => Ok((Some(Action::Trap), rest)),
        "errno" => {
            let (number, rest) = word(rest.trim_start());
            let errno = number.parse().ok().filter(|errno| *errno <= MAX_ERRNO);
            let errno = errno.ok_or_else(|| Reason::Errno(shown(number)))?;
            Ok((Some(Action::Errno(errno)), rest))
        }
        "notify" => Err(Reason::Unanswered("notify")),
        "trace" => Err(Reason::Unanswered("trace")),
        _ => Err(Reason::Action(shown(text))),
    }
}

/// Up to a blank or a bracket.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find([' ', '\t', '[']).unwrap_or(text.len()))
}

/// `[1,0x9400,SCMP_CMP_MASKED_EQ,0xff00],[0,2,==]`, with blanks or commas between them.
fn conditions(text: &str) -> Result<Vec<Test>, Reason> {
    let mut found: Vec<Test> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(inner) = rest.strip_prefix('[') {
        let wrong = || Reason::Condition(shown(rest));
        let (inner, behind) = inner.split_once(']').ok_or_else(wrong)?;
        let test = condition(inner).ok_or_else(wrong)?;
        if found.iter().any(|other| other.index() == test.index()) {
            return Err(Reason::Twice(test.index()));
        }
        found.push(test);
        rest = behind.trim_start_matches([' ', '\t', ',']);
    }
    ended(rest)?;
    Ok(found)
}

fn condition(text: &str) -> Option<Test> {
    let mut fields = text.split(',').map(str::trim);
    let index = number(fields.next()?).filter(|index| *index < ARGUMENTS)?;
    let index = u32::try_from(index).ok()?;
    let value = number(fields.next()?)?;
    let operator = fields.next()?;
    // LXC reads a mask wherever one stands, and needs it for this operator alone.
    let mask = match fields.next() {
        Some(mask) => Some(number(mask)?),
        None => None,
    };
    if fields.next().is_some() {
        return None;
    }
    let operator = match operator {
        "SCMP_CMP_NE" | "!=" => Operator::NotEqual,
        "SCMP_CMP_LT" | "<" => Operator::Less,
        "SCMP_CMP_LE" | "<=" => Operator::LessOrEqual,
        "SCMP_CMP_EQ" | "==" => Operator::Equal,
        "SCMP_CMP_GE" | ">=" => Operator::GreaterOrEqual,
        "SCMP_CMP_GT" | ">" => Operator::Greater,
        "SCMP_CMP_MASKED_EQ" | "&=" => {
            return Some(Test::Bits(Bits { index, mask: mask?, bits: value }));
        }
        _ => return None,
    };
    Some(Test::Whole { index, operator, value })
}

/// As strtoull(3) with base 0, without a sign.
fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        (None, _) => (lower.as_str(), 10),
    };
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())?
}

/// Nothing follows but a comment. One with a bracket LXC would take for a condition.
fn ended(rest: &str) -> Result<(), Reason> {
    let rest = rest.trim_start();
    if rest.is_empty() || (rest.starts_with('#') && !rest.contains('[')) {
        return Ok(());
    }
    Err(Reason::Rest(shown(rest)))
}

/// Whatever stands in the file, for a line of a task's log.
fn shown(text: &str) -> String {
    text.chars().take(LONGEST_SHOWN).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
