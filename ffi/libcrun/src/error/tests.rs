use super::*;
use rstest::rstest;

/// libcrun 1.28's words, as its calls gave them.
#[rstest]
#[case::unknown(
    Operation::State,
    2,
    "container `x` does not exist: open `/run/x/x/status`",
    Kind::NotFound
)]
#[case::duplicate(Operation::Create, 0, "container `x` already exists", Kind::AlreadyExists)]
#[case::exited(Operation::Kill, 3, "process not running", Kind::NotRunning)]
#[case::no_pidfd(Operation::Kill, 3, "kill container", Kind::NotRunning)]
#[case::stopped(Operation::Exec, 0, "the container `x` is not running", Kind::NotRunning)]
#[case::running(
    Operation::Delete,
    0,
    "the container `x` is not in `created` or `stopped` state",
    Kind::StillRunning
)]
#[case::paused(Operation::Exec, 0, "the container `x` is paused", Kind::Paused)]
#[case::no_program(Operation::Create, 2, "executable file `/no` not found", Kind::Executable)]
#[case::not_in_path(
    Operation::Create,
    2,
    "executable file `no` not found in $PATH",
    Kind::Executable
)]
#[case::no_x_bit(
    Operation::Create,
    1,
    "the path `/etc/f` exists but it is not executable",
    Kind::Executable
)]
#[case::directory(Operation::Create, 1, "the path `/etc` is not a regular file", Kind::Executable)]
#[case::no_rootfs(Operation::Create, 2, "readlink ``", Kind::RootFilesystem)]
#[case::no_config(
    Operation::Create,
    0,
    "load config.json: cannot read the file: config.json",
    Kind::Config
)]
#[case::no_root_block(
    Operation::Create,
    0,
    "invalid config file, no `root` block specified",
    Kind::Config
)]
#[case::mount(Operation::Create, 19, "mount `x` to `tmp`", Kind::Failed)]
fn classifies(
    #[case] operation: Operation,
    #[case] status: i32,
    #[case] message: &str,
    #[case] kind: Kind,
) {
    let failure = Failure { operation, status, kind: None, message: Some(message.to_owned()) };
    assert_eq!(Error::from_failure(failure, String::new()).kind(), kind);
}

fn failure(status: i32, message: Option<&str>) -> Failure {
    let message = message.map(str::to_owned);
    Failure { operation: Operation::Create, status, kind: None, message }
}

#[rstest]
#[case::with_errno(
    failure(19, Some("mount `x` to `tmp`")),
    "create: mount `x` to `tmp`: No such device"
)]
#[case::without(
    failure(0, Some("container `x` already exists")),
    "create: container `x` already exists"
)]
#[case::nameless(
    failure(2, Some("readlink ``")),
    "create: the root filesystem: No such file or directory"
)]
fn tells_operation_message_and_errno(#[case] failure: Failure, #[case] text: &str) {
    assert_eq!(Error::from_failure(failure, String::new()).to_string(), text);
}

/// Failed hooks set no error.
#[test]
fn takes_the_last_printed_line_for_a_missing_message() {
    let log = "cgroup v1 is deprecated\nerror executing hook `/bin/no` (exit code: 1)\n\n";
    let err = Error::from_failure(failure(0, None), log.to_owned());
    assert_eq!(err.message, "error executing hook `/bin/no` (exit code: 1)");
    assert_eq!(err.log, log);
}

#[test]
fn says_so_when_there_is_no_reason_at_all() {
    assert_eq!(
        Error::from_failure(failure(0, None), String::new()).to_string(),
        "create: libcrun gave no reason"
    );
}
