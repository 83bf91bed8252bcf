//! `user`, `group`, `token` and `acl`: what `pveum` is on a PVE node, for a root that has no PVE. Whoever may
//! write the files may do everything.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use openapi::answer::{AclRow, GroupRow};
use openapi::{TokenId, UserId};
use pve_integration::access::edit::{
    self, AclChange, EditError, NewToken, NewUser, TokenChange, UserChange,
};
use pve_integration::access::{self, Access, KeyError, normalize_path};
use pve_integration::layout::{InvalidRoot, Root};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;

use super::client::Format;
use super::show::{print, print_json};
use crate::api::access::{acl_rows, group_row, token_rows, user_row as row};

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
    #[error("{0}")]
    Group(String),
    #[error("invalid ACL path '{0}'")]
    Path(String),
    #[error("cannot print the answer")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which root.
#[derive(Debug, Args)]
pub struct At {
    /// Directory that the daemon serves.
    #[arg(long, value_name = "DIR", global = true, default_value = "/")]
    root: PathBuf,
    /// How to print what is shown.
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
}

impl At {
    fn root(&self) -> Result<Root, CommandError> {
        let root = Root::new(&self.root)?;
        // A file written before the first start would keep that from making root's token.
        let file = root.user_cfg();
        if file.exists() { Ok(root) } else { Err(CommandError::NotLaidOut(file)) }
    }

    /// As `PVEAPIToken=` takes it.
    fn show_secret(&self, id: &TokenId, secret: &SecretString) -> Result<(), CommandError> {
        let secret = secret.expose_secret();
        let row = json!({"full-tokenid": id, "value": secret});
        self.show(row, || format!("{id}={secret}\n"))
    }

    /// `rows` as the API has them, or `text`.
    fn show(
        &self,
        rows: impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), CommandError> {
        match self.format {
            Format::Json => print_json(&serde_json::to_value(rows)?)?,
            Format::Text => print(&text())?,
        }
        Ok(())
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
    /// Change a user. What is not given stays.
    Modify {
        userid: UserId,
        /// Whether the user may log in.
        #[arg(long)]
        enable: Option<bool>,
        #[arg(long)]
        comment: Option<String>,
        #[arg(long)]
        email: Option<String>,
        #[arg(long)]
        firstname: Option<String>,
        #[arg(long)]
        lastname: Option<String>,
        /// Seconds since 1970; 0 is never.
        #[arg(long)]
        expire: Option<u64>,
        /// The groups that the user is in from now on.
        #[arg(long, value_delimiter = ',')]
        groups: Option<Vec<String>>,
        /// Keep the groups that the user is in.
        #[arg(long, requires = "groups")]
        append: bool,
    },
    /// Set a user's password, read from standard input.
    Passwd { userid: UserId },
    /// Delete a user with its tokens and rights.
    Delete { userid: UserId },
}

/// Groups of users.
#[derive(Debug, Subcommand)]
pub enum Group {
    /// Show the groups.
    List,
    /// Make a group.
    Add {
        groupid: String,
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Delete a group, and what was granted to it.
    Delete { groupid: String },
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
    /// Change a token. What is not given stays.
    Modify {
        tokenid: TokenId,
        /// Whether it has only the rights that are given to itself.
        #[arg(long)]
        privsep: Option<bool>,
        /// Seconds since 1970; 0 is never.
        #[arg(long)]
        expire: Option<u64>,
        #[arg(long)]
        comment: Option<String>,
        /// Make another secret, and print the token with it. The old one is void at once.
        #[arg(long)]
        regenerate: bool,
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
            let access = Access::read(&root)?;
            let users = &access.config.users;
            let rows: Vec<_> =
                users.iter().map(|(id, user)| row(&access, id, user, true)).collect();
            at.show(rows, || {
                let line = |(id, user): (&UserId, &access::User)| {
                    let state = if user.enable { "enabled" } else { "disabled" };
                    format!("{id}\t{state}\t{}\n", user.comment)
                };
                users.iter().map(line).collect()
            })?;
        }
        User::Add { userid: id, password, comment, email, expire, groups } => {
            let password = if password { Some(read_password()?) } else { None };
            let groups = Some(groups);
            let settings = UserChange { comment, email, expire, groups, ..UserChange::default() };
            edit::create_user(&root, NewUser { id, password, settings })?;
        }
        User::Modify {
            userid,
            enable,
            comment,
            email,
            firstname,
            lastname,
            expire,
            groups,
            append,
        } => {
            let change = UserChange {
                enable,
                expire,
                firstname,
                lastname,
                email,
                comment,
                groups,
                ..UserChange::default()
            };
            edit::update_user(&root, &userid, change, append)?;
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

pub fn group(at: &At, command: Group) -> Result<(), CommandError> {
    let root = at.root()?;
    match command {
        Group::List => {
            let access = Access::read(&root)?;
            let groups = &access.config.groups;
            let rows: Vec<_> = groups.iter().map(|(name, group)| group_row(name, group)).collect();
            at.show(&rows, || {
                let line = |row: &GroupRow| {
                    let comment = row.comment.as_deref().unwrap_or_default();
                    format!("{}\t{}\t{comment}\n", row.groupid, row.users)
                };
                rows.iter().map(line).collect()
            })?;
        }
        Group::Add { groupid, comment } => {
            openapi::format::verify("pve-groupid", &groupid).map_err(CommandError::Group)?;
            edit::create_group(&root, &groupid, comment)?;
        }
        Group::Delete { groupid } => edit::delete_group(&root, &groupid)?,
    }
    Ok(())
}

pub fn token(at: &At, command: Token) -> Result<(), CommandError> {
    let root = at.root()?;
    match command {
        Token::List { userid } => {
            let access = Access::read(&root)?;
            let user = access.config.existing_user(&userid)?;
            at.show(token_rows(user).unwrap_or_default(), || {
                let line = |(name, token): (&String, &access::Token)| {
                    let rights = if token.privsep { "own rights" } else { "its user's rights" };
                    format!("{userid}!{name}\t{rights}\t{}\n", token.comment)
                };
                user.tokens.iter().map(line).collect()
            })?;
        }
        Token::Add { tokenid, no_privsep, expire, comment } => {
            let new = NewToken { privsep: !no_privsep, expire, comment };
            let secret = edit::create_token(&root, &tokenid, new)?;
            at.show_secret(&tokenid, &secret)?;
        }
        Token::Modify { tokenid, privsep, expire, comment, regenerate } => {
            let change =
                TokenChange { privsep, expire, comment, regenerate, ..TokenChange::default() };
            let (_, secret) = edit::change_token(&root, &tokenid, change)?;
            if let Some(secret) = secret {
                at.show_secret(&tokenid, &secret)?;
            }
        }
        Token::Delete { tokenid } => edit::delete_token(&root, &tokenid)?,
    }
    Ok(())
}

pub fn acl(at: &At, command: Acl) -> Result<(), CommandError> {
    let root = at.root()?;
    match command {
        Acl::List => list_acl(at, &root),
        Acl::Modify(grant) => change(&root, grant, false),
        Acl::Delete(grant) => change(&root, grant, true),
    }
}

fn list_acl(at: &At, root: &Root) -> Result<(), CommandError> {
    let rows = acl_rows(&Access::read(root)?.config, |_| true);
    at.show(&rows, || {
        let line = |row: &AclRow| {
            let whom = if row.kind == "group" { "@" } else { "" };
            let reach = if row.propagate == 1 { "and below" } else { "only there" };
            format!("{}\t{whom}{}\t{}\t{reach}\n", row.path, row.ugid, row.roleid)
        };
        rows.iter().map(line).collect()
    })
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
