use clap::{CommandFactory as _, Parser as _};
use rstest::rstest;

use super::*;

fn parse(words: &str) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(std::iter::once("x").chain(words.split_whitespace()))
}

#[test]
fn the_command_line_is_sound() {
    CommandLine::command().debug_assert();
}

/// As conmon, podman and containerd's shim call their runtime.
#[rstest]
#[case::conmon_create(
    "--log-format=json --log /l create --bundle /b --pid-file /p --no-new-keyring c1"
)]
#[case::conmon_exec("exec --pid-file /p --process /f --detach --tty c1")]
#[case::podman_kill("kill c1 15")]
#[case::podman_kill_all("kill --all c1 KILL")]
#[case::podman_update("update --resources /r c1")]
#[case::shim_create(
    "--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /s c1"
)]
#[case::shim_update("--root /r update --resources=- c1")]
#[case::shim_ps("ps --format json c1")]
#[case::shim_list("list --format=json")]
#[case::rootless("--rootless=true state c1")]
#[case::trailing("exec -t c1 ls -l --color")]
#[case::no_limit("update --memory-swap -1 --cpu-quota=-1 --pids-limit 5 c1")]
fn takes(#[case] words: &str) {
    parse(words).unwrap();
}

#[rstest]
#[case::no_name("create")]
#[case::odd_name("state ../etc")]
#[case::hidden_name("state .x")]
#[case::no_signal("kill c1 SIGNOPE")]
#[case::no_program("exec c1")]
#[case::both("exec --process /f c1 ls")]
#[case::file_and_flags("update -r /f --memory 1g c1")]
#[case::unknown("create --rdt x c1")]
#[case::keep_detached("run --keep --detach c1")]
fn refuses_as_wrong_usage(#[case] words: &str) {
    assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
}

#[test]
fn the_program_of_exec_keeps_its_own_options() {
    let Verb::Exec(exec) = parse("exec --tty=false c1 sh -c --help").unwrap().verb else {
        panic!("another verb");
    };
    assert_eq!(exec.command, ["sh", "-c", "--help"]);
    assert!(!exec.tty);
}

#[rstest]
#[case("9", 9)]
#[case("KILL", 9)]
#[case("SIGKILL", 9)]
#[case("sigterm", 15)]
#[case("0", 0)]
#[case("64", 64)]
#[case("RTMIN+3", 37)]
#[case("SIGRTMAX-1", 63)]
#[case("SYS", 31)]
fn knows_signals(#[case] text: &str, #[case] number: i32) {
    assert_eq!(text.parse::<Signal>().unwrap().number(), number);
}

#[rstest]
#[case("")]
#[case("65")]
#[case("-9")]
#[case("+9")]
#[case("SIG")]
#[case("RTMIN-1")]
#[case("RTMAX-99")]
fn refuses_signals(#[case] text: &str) {
    assert_eq!(text.parse::<Signal>(), Err(InvalidValue::Signal));
}

#[rstest]
#[case("-1", Some(-1))]
#[case("4096", Some(4096))]
#[case("512m", Some(536_870_912))]
#[case("1G", Some(1_073_741_824))]
#[case("7b", Some(7))]
#[case("-2k", None)]
#[case("+1", None)]
#[case("m", None)]
#[case("9223372036854775807t", None)]
fn reads_bytes(#[case] text: &str, #[case] bytes: Option<i64>) {
    assert_eq!(text.parse::<Bytes>().ok().map(Bytes::get), bytes);
}
