//! The bundle's system call rules as a profile of LXC's, version 2 (lxc.container.conf(5), SECCOMP).

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use crate::bundle::{BundleError, wrong};

const KEY: &str = "lxc.seccomp.profile";

/// All rules hold for every architecture that the kernel can run, which is what `[all]` says.
pub(super) fn profile(seccomp: &LinuxSeccomp) -> Result<String, BundleError> {
    let kind = match seccomp.default_action() {
        LinuxSeccompAction::ScmpActAllow => "denylist".to_owned(),
        LinuxSeccompAction::ScmpActErrno => {
            format!("allowlist errno {}", seccomp.default_errno_ret().unwrap_or(1))
        }
        LinuxSeccompAction::ScmpActKill
        | LinuxSeccompAction::ScmpActKillThread
        | LinuxSeccompAction::ScmpActKillProcess => "allowlist kill".to_owned(),
        LinuxSeccompAction::ScmpActTrap => "allowlist trap".to_owned(),
        other @ (LinuxSeccompAction::ScmpActNotify
        | LinuxSeccompAction::ScmpActTrace
        | LinuxSeccompAction::ScmpActLog) => {
            return Err(wrong(KEY, format!("LXC's runtime has no default {other:?}")));
        }
    };
    let mut text = format!("2\n{kind}\n[all]\n");
    for rule in seccomp.syscalls().iter().flatten() {
        let action = action(rule)?;
        let arguments: Vec<String> = rule.args().iter().flatten().map(argument).collect();
        let arguments =
            if arguments.is_empty() { String::new() } else { format!(" {}", arguments.join(",")) };
        for name in rule.names() {
            text.push_str(&format!("{name} {action}{arguments}\n"));
        }
    }
    Ok(text)
}

fn action(rule: &LinuxSyscall) -> Result<String, BundleError> {
    use LinuxSeccompAction as Action;

    match rule.action() {
        Action::ScmpActErrno => Ok(format!("errno {}", rule.errno_ret().unwrap_or(1))),
        Action::ScmpActKill | Action::ScmpActKillThread | Action::ScmpActKillProcess => {
            Ok("kill".to_owned())
        }
        Action::ScmpActTrap => Ok("trap".to_owned()),
        Action::ScmpActAllow => Ok("allow".to_owned()),
        Action::ScmpActNotify | Action::ScmpActTrace | Action::ScmpActLog => {
            Err(wrong(KEY, format!("LXC's runtime has no action {:?}", rule.action())))
        }
    }
}

/// `[index,value,operator,mask]`; of a masked comparison OCI's first value is the mask.
fn argument(argument: &LinuxSeccompArg) -> String {
    use LinuxSeccompOperator as Operator;

    let (index, value) = (argument.index(), argument.value());
    let operator = match argument.op() {
        Operator::ScmpCmpNe => "SCMP_CMP_NE",
        Operator::ScmpCmpLt => "SCMP_CMP_LT",
        Operator::ScmpCmpLe => "SCMP_CMP_LE",
        Operator::ScmpCmpEq => "SCMP_CMP_EQ",
        Operator::ScmpCmpGe => "SCMP_CMP_GE",
        Operator::ScmpCmpGt => "SCMP_CMP_GT",
        Operator::ScmpCmpMaskedEq => {
            let bits = argument.value_two().unwrap_or_default();
            return format!("[{index},{bits},SCMP_CMP_MASKED_EQ,{value}]");
        }
    };
    format!("[{index},{value},{operator}]")
}
