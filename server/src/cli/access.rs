//! `user`, `token` and `acl`: what `pveum` is on a PVE node, for a root that has no PVE. Whoever may
//! write the files may do everything.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use openapi::{TokenId, UserId};
use pve_integration::access::edit::{self, AclChange, EditError, NewToken, NewUser, UserChange};
use pve_integration::access::{Access, KeyError, RoleSet, normalize_path};
use pve_integration::layout::{InvalidRoot, Root};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};

/// What the API takes.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=64;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Root(#[from] InvalidRoot),
    #[error("'{0}' is missing; start the daemon on this root once, which lays it out")]
    NotLaidOut(PathBuf),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Read(#[from] KeyError),
    #[error("a password has 8 to 64 characters")]
    Password,
    #[error("the passwords differ")]
    Differ,
    #[error("invalid ACL path '{0}'")]
    Path(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which root.
#[derive(Debug, Args)]
pub struct At {
    /// Directory that the daemon serves.
    #[arg(long, value_name = "DIR", global = true, default_value = "/")]
    root: PathBuf,
}

impl At {
    fn root(&self) -> Result<Root, CommandError> {
        let root = Root::new(&self.root)?;
        // A file written before the first start would keep that from making root's token.
        let file = root.user_cfg();
        if file.exists() { Ok(root) } else { Err(CommandError::NotLaidOut(file)) }
    }
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Show the users.
    List,
    /// Make a user, say joe@pve.
    Add {
        userid: UserId,
        /// Read a password from standard input.
        #[arg(long)]
        password: bool,
        #[arg(long)]
        comment: Option<String>,
        #[arg(long)]
        email: Option<String>,
        /// Seconds since 1970; 0 is never.
        #[arg(long)]
        expire: Option<u64>,
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
    },
    /// Set a user's password, read from standard input.
    Passwd { userid: UserId },
    /// Delete a user with its tokens and rights.
    Delete { userid: UserId },
}

/// API tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Show a user's tokens, without their secrets.
    List { userid: UserId },
    /// Make a token, say joe@pve!ci, and print it with its secret, as PVEAPIToken= takes it.
    Add {
        tokenid: TokenId,
        /// Give it all rights of its user; without this it has those that are given to itself.
        #[arg(long)]
        no_privsep: bool,
        /// Seconds since 1970; 0 is never.
        #[arg(long, default_value_t = 0)]
        expire: u64,
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Delete a token.
    Delete { tokenid: TokenId },
}

/// Who may do what where.
#[derive(Debug, Subcommand)]
pub enum Acl {
    /// Show what was granted.
    List,
    /// Grant roles at a path, say /vms/100.
    Modify(Grant),
    /// Take roles away.
    Delete(Grant),
}

#[derive(Debug, Args)]
#[group(id = "whom", required = true, multiple = true, args = ["users", "groups", "tokens"])]
pub struct Grant {
    path: String,
    #[arg(long, value_delimiter = ',', required = true)]
    roles: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    users: Vec<UserId>,
    #[arg(long, value_delimiter = ',')]
    groups: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<TokenId>,
    /// Not below the path.
    #[arg(long)]
    no_propagate: bool,
}

pub fn user(at: &At, command: User) -> Result<(), CommandError> {
    let root = at.root()?;
    match command {
        User::List => {
            let mut out = io::stdout().lock();
            for (id, user) in &Access::read(&root)?.config.users {
                let state = if user.enable { "enabled" } else { "disabled" };
                writeln!(out, "{id}\t{state}\t{}", user.comment)?;
            }
        }
        User::Add { userid: id, password, comment, email, expire, groups } => {
            let password = if password { Some(read_password()?) } else { None };
            let groups = Some(groups);
            let settings = UserChange { comment, email, expire, groups, ..UserChange::default() };
            edit::create_user(&root, NewUser { id, password, settings })?;
        }
        User::Passwd { userid } => {
            Access::read(&root)?.config.existing_user(&userid)?;
            edit::set_password(&root, &userid, &read_password()?)?;
        }
        User::Delete { userid } => {
            Access::read(&root)?.config.existing_user(&userid)?;
            edit::delete_user(&root, &userid)?;
        }
    }
    Ok(())
}

pub fn token(at: &At, command: Token) -> Result<(), CommandError> {
    let root = at.root()?;
    let mut out = io::stdout().lock();
    match command {
        Token::List { userid } => {
            let access = Access::read(&root)?;
            for (name, token) in &access.config.existing_user(&userid)?.tokens {
                let rights = if token.privsep { "own rights" } else { "its user's rights" };
                writeln!(out, "{userid}!{name}\t{rights}\t{}", token.comment)?;
            }
        }
        Token::Add { tokenid, no_privsep, expire, comment } => {
            let new = NewToken { privsep: !no_privsep, expire, comment };
            let secret = edit::create_token(&root, &tokenid, new)?;
            writeln!(out, "{tokenid}={}", secret.expose_secret())?;
        }
        Token::Delete { tokenid } => edit::delete_token(&root, &tokenid)?,
    }
    Ok(())
}

pub fn acl(at: &At, command: Acl) -> Result<(), CommandError> {
    let root = at.root()?;
    match command {
        Acl::List => list_acl(&root),
        Acl::Modify(grant) => change(&root, grant, false),
        Acl::Delete(grant) => change(&root, grant, true),
    }
}

fn list_acl(root: &Root) -> Result<(), CommandError> {
    let mut text = String::new();
    Access::read(root)?.config.acl.each(&mut |path, node| {
        let mut add = |whom: String, roles: &RoleSet| {
            for (role, below) in roles {
                let reach = if *below { "and below" } else { "only there" };
                text += &format!("{path}\t{whom}\t{role}\t{reach}\n");
            }
        };
        node.users.iter().for_each(|(user, roles)| add(user.to_string(), roles));
        node.groups.iter().for_each(|(group, roles)| add(format!("@{group}"), roles));
        node.tokens.iter().for_each(|(token, roles)| add(token.to_string(), roles));
    });
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn change(root: &Root, grant: Grant, delete: bool) -> Result<(), CommandError> {
    let path = normalize_path(&grant.path).filter(|path| delete || edit::is_acl_path(path));
    let Some(path) = path.map(std::borrow::Cow::into_owned) else {
        return Err(CommandError::Path(grant.path));
    };
    let change = AclChange {
        path,
        roles: grant.roles,
        users: grant.users,
        groups: grant.groups,
        tokens: grant.tokens,
        propagate: !grant.no_propagate,
        delete,
    };
    let root_user = "root@pam".parse().expect("it is a user's id");
    Ok(edit::change_acl(root, &root_user, &change)?)
}

/// Twice from a person, who does not see it; once from a pipe.
fn read_password() -> Result<SecretString, CommandError> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let before = tcgetattr(&stdin).map_err(io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
        let asked = ask("New password: ").and_then(|first| Ok((first, ask("Again: ")?)));
        tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(io::Error::from)?;
        let (first, second) = asked?;
        if first.expose_secret() != second.expose_secret() {
            return Err(CommandError::Differ);
        }
        first
    } else {
        line()?
    };
    if PASSWORD.contains(&password.expose_secret().chars().count()) {
        Ok(password)
    } else {
        Err(CommandError::Password)
    }
}

fn ask(prompt: &str) -> io::Result<SecretString> {
    let mut err = io::stderr();
    write!(err, "{prompt}")?;
    let answer = line();
    writeln!(err)?;
    answer
}

fn line() -> io::Result<SecretString> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    Ok(text.strip_suffix('\r').unwrap_or(text).into())
}
