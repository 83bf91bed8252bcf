//! `/access`: who there is and who may do what. Who may ask is in the method table and checked by
//! the guard; rules that PVE has in code are here, and changes are `pve_integration::access::edit`'s.

mod acl;
mod domains;
mod groups;
mod password;
mod permissions;
mod roles;
mod tfa;
mod ticket;
mod tokens;
mod users;
mod vncticket;

use openapi::answer::ErrorBody;
use pve_integration::access::split_list;

// As the shell prints them.
pub(crate) use acl::rows as acl_rows;
pub(crate) use groups::row as group_row;
pub(crate) use users::{row as user_row, token_rows};

use super::{Subdir, subdirs};
use crate::api_router::{ApiRouter, routes};
use crate::envelope::Data;

pub(crate) fn router() -> ApiRouter {
    ApiRouter::default()
        .routes(routes!(access_index))
        .routes(routes!(acl::acl, acl::update_acl))
        .routes(routes!(domains::domains, domains::create_domain))
        .routes(routes!(domains::domain, domains::update_domain, domains::delete_domain))
        .routes(routes!(groups::groups, groups::create_group))
        .routes(routes!(groups::group, groups::update_group, groups::delete_group))
        .routes(routes!(password::change_password))
        .routes(routes!(permissions::permissions))
        .routes(routes!(roles::roles, roles::create_role))
        .routes(routes!(roles::role, roles::update_role, roles::delete_role))
        .routes(routes!(ticket::login_page, ticket::login))
        .routes(routes!(tfa::factors))
        .routes(routes!(tfa::unlock))
        .routes(routes!(tokens::tokens))
        .routes(routes!(
            tokens::token,
            tokens::create_token,
            tokens::update_token,
            tokens::delete_token
        ))
        .routes(routes!(users::users, users::create_user))
        .routes(routes!(vncticket::verify_vnc_ticket))
        .routes(routes!(users::user, users::update_user, users::delete_user))
}

/// What is below `/access`.
#[utoipa::path(
    get, path = "/access", tag = "access",
    responses(
        (status = 200, description = "The parts", body = Data<Vec<Subdir>>),
        (status = "default", description = "PVE's error envelope", body = ErrorBody)),
)]
async fn access_index() -> Data<Vec<Subdir>> {
    Data::new(subdirs(&[
        "users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password",
    ]))
}

/// A text that PVE leaves out when it is empty.
fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn is_set(flag: Option<u8>) -> bool {
    flag.is_some_and(|flag| flag != 0)
}

/// PVE's `-list` values, whose items were checked as they came.
fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    split_list(list.unwrap_or_default())
}
