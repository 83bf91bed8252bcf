//! How callers prove who they are, and what they must be allowed, in the document.

use utoipa::openapi::Components;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};

use crate::Privilege;
use crate::schema::{Method, Permissions, Rule};

const TOKEN: &str = "PVEAPIToken";
const COOKIE: &str = "PVEAuthCookie";
const CSRF: &str = "CSRFPreventionToken";

pub(super) fn declare(components: &mut Components) {
    let token = ApiKeyValue::with_description(
        "Authorization",
        "An API token: `PVEAPIToken=user@realm!name=secret`.",
    );
    let cookie = ApiKeyValue::with_description(COOKIE, "A ticket, from `POST /access/ticket`.");
    let csrf = ApiKeyValue::with_description(
        CSRF,
        "Comes with a ticket; needed beside the cookie by whatever is not a GET.",
    );
    components.add_security_scheme(TOKEN, SecurityScheme::ApiKey(ApiKey::Header(token)));
    components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components.add_security_scheme(CSRF, SecurityScheme::ApiKey(ApiKey::Header(csrf)));
}

/// Any one of these will do; an empty one means nobody needs to be known.
pub(super) fn required(method: &Method) -> Vec<SecurityRequirement> {
    let need = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    if method.permissions == Some(Permissions::World) {
        return vec![SecurityRequirement::default()];
    }
    let cookie = match method.method {
        "GET" => need(COOKIE),
        _ => need(COOKIE).add(CSRF, Vec::<String>::new()),
    };
    if method.allowtoken { vec![need(TOKEN), cookie] } else { vec![cookie] }
}

/// A sentence about who may call it.
pub(super) fn in_words(method: &Method) -> String {
    match &method.permissions {
        None => "Only root@pam may.".to_owned(),
        Some(Permissions::World) => "Anyone may.".to_owned(),
        Some(Permissions::All) => {
            "Whoever is logged in may; what is shown can depend on their rights.".to_owned()
        }
        Some(Permissions::Check(rule)) => format!("Needs {}.", needs(rule)),
    }
}

fn needs(rule: &Rule) -> String {
    let all = |rules: &[Rule], word: &str| {
        let parts: Vec<_> = rules.iter().map(needs).collect();
        format!("({})", parts.join(word))
    };
    let names = |privileges: &[Privilege], word: &str| {
        privileges.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(word)
    };
    match rule {
        Rule::And(rules) => all(rules, ", and "),
        Rule::Or(rules) => all(rules, ", or "),
        Rule::Perm { path, privileges, any, require_param } => {
            let names = names(privileges, if *any { " or " } else { " and " });
            let given = require_param.as_ref().map(|name| format!(" (if `{name}` is given)"));
            format!("{names} on `{path}`{}", given.unwrap_or_default())
        }
        Rule::PermModify { path } => format!("the right to change permissions of `{path}`"),
        Rule::UserIsCaller => "to be the user that `userid` names".to_owned(),
        Rule::RealmOfUser => format!("{} on the user's realm", Privilege::RealmAllocateUser),
        Rule::UserGroup { privileges, .. } => {
            format!("{} on a group of the user", names(privileges, " or "))
        }
    }
}
