//! The program `proxmox-lxcri`: flags, log, and away.

use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use oci_verbs::{Global, Verb};
use server::cli::access::{self, Acl, At, Group, Token, User};
use server::cli::client::{ClientError, Target};
use server::cli::ct::{self, Ct};
use server::cli::documents::{self, Document};
use server::cli::report::report;
use server::cli::task::{self, Task};
use server::cli::{oci, runtimes};
use server::serve::{Options, StartError, serve};
use tracing_subscriber::EnvFilter;

/// As clap's.
const WRONG_USAGE: u8 = 2;

/// OCI containers as guests of Proxmox VE.
#[derive(Debug, Parser)]
#[command(
    name = "proxmox-lxcri",
    version,
    after_help = "create to spec are the commands of an OCI runtime: they work on bundles, without a \
        daemon. ct has those for the daemon's containers."
)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: PVE's API on HTTPS and on a unix socket.
    Serve(Options),
    /// Users who may log in.
    User {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: User,
    },
    /// Groups of users.
    Group {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: Group,
    },
    /// API tokens.
    Token {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: Token,
    },
    /// Who may do what where.
    Acl {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: Acl,
    },
    /// Containers, by way of the daemon.
    Ct {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        command: Ct,
    },
    /// What can run containers, by way of the daemon.
    Runtimes {
        #[command(flatten)]
        target: Target,
    },
    /// What was done and is being done, by way of the daemon.
    Task {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        command: Task,
    },
    /// Completions and man pages
    #[command(hide = true)]
    Generate {
        #[command(subcommand)]
        document: Document,
    },
    #[command(flatten)]
    Oci(Verb),
}

fn main() -> ExitCode {
    let line = match parse(std::env::args_os()) {
        Ok(line) => line,
        Err(err) => err.exit(),
    };
    let verbose = line.global.verbose;
    match line.command {
        Command::Serve(options) => {
            start_log();
            told(run(options), verbose)
        }
        // Before anything is opened or started: the process goes on as another program.
        Command::Oci(_) => told(oci::exec(std::env::args_os().skip(1)), verbose),
        Command::User { at, command } => told(access::user(&at, command), verbose),
        Command::Group { at, command } => told(access::group(&at, command), verbose),
        Command::Token { at, command } => told(access::token(&at, command), verbose),
        Command::Acl { at, command } => told(access::acl(&at, command), verbose),
        Command::Generate { document } => {
            told(documents::write(CommandLine::command(), &document), verbose)
        }
        Command::Ct { target, command } => ask(ct::run(&target, &command), verbose),
        Command::Runtimes { target } => ask(runtimes::run(&target), verbose),
        Command::Task { target, command } => ask(task::run(&target, &command), verbose),
    }
}

#[tokio::main]
async fn run(options: Options) -> Result<(), StartError> {
    serve(options).await
}

/// A client needs no threads.
#[tokio::main(flavor = "current_thread")]
async fn ask(asked: impl Future<Output = Result<(), ClientError>>, verbose: bool) -> ExitCode {
    match asked.await {
        Err(err) if err.is_usage() => {
            told(Err::<(), _>(err), verbose);
            ExitCode::from(WRONG_USAGE)
        }
        done => told(done, verbose),
    }
}

/// The options before the verb belong to the OCI runtime's verbs; elsewhere they would mean nothing.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let mut command = CommandLine::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let line = CommandLine::from_arg_matches(&matches)?;
    match (&line.command, before_the_verb(&matches)) {
        (Command::Oci(_), _) | (_, None) => Ok(line),
        (_, Some(option)) => {
            let verb = matches.subcommand_name().unwrap_or_default();
            let message = format!("'--{option}' does not go before '{verb}'");
            Err(command.error(ErrorKind::ArgumentConflict, message))
        }
    }
}

fn before_the_verb(matches: &ArgMatches) -> Option<String> {
    let global = Global::augment_args(clap::Command::new(""));
    let given = global.get_arguments().find(|argument| {
        let id = argument.get_id().as_str();
        // Those that go anywhere mean something everywhere.
        !argument.is_global_set() && matches.value_source(id) == Some(ValueSource::CommandLine)
    });
    given.and_then(clap::Arg::get_long).map(str::to_owned)
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Whoever read our log may be gone; to complain about that on stderr would be a panic.
        .log_internal_errors(false)
        .init();
}

fn told(done: Result<(), impl Error + 'static>, verbose: bool) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Nothing is left to do if even stderr is gone.
            writeln!(std::io::stderr(), "proxmox-lxcri: {}", report(&err, verbose)).ok();
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<CommandLine, clap::Error> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_two_kinds_of_root_do_not_mix() {
        assert!(of("x --root /state list").is_ok());
        assert!(of("x serve --root /srv").is_ok());
        assert!(of("x -v ct --root /srv list -v").is_ok());
        assert!(of("x user list --root /srv").is_ok());
        for words in ["x --root /srv serve --root /srv", "x --log /l user list"] {
            let err = of(words).unwrap_err();
            assert_eq!(err.exit_code(), 2, "{err}");
        }
    }
}
