//! The program `proxmox-lxcri`: flags, log, and away.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use server::cli::access::{self, Acl, At, Token, User};
use server::serve::{Options, serve};
use tracing_subscriber::EnvFilter;

/// OCI containers as guests of Proxmox VE.
#[derive(Debug, Parser)]
#[command(name = "proxmox-lxcri", version)]
struct CommandLine {
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
}

#[tokio::main]
async fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(options) => {
            start_log();
            report(serve(options).await)
        }
        Command::User { at, command } => report(access::user(&at, command)),
        Command::Token { at, command } => report(access::token(&at, command)),
        Command::Acl { at, command } => report(access::acl(&at, command)),
    }
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

fn report(done: Result<(), impl Display>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Nothing is left to do if even stderr is gone.
            writeln!(std::io::stderr(), "proxmox-lxcri: {err}").ok();
            ExitCode::FAILURE
        }
    }
}
