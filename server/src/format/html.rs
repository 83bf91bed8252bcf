//! `/api2/html`: the API for a person with a browser. A page shows one answer and links to what
//! lies below it; nothing can be changed from it. The only form is the login's.

use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use openapi::schema::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Format;
use super::entities::encode;
use crate::error::{ApiError, set_reason};
use crate::target;

const BASE: &str = "/api2/html";
const LOGIN: &str = "/access/ticket";
/// Perl's `uri_escape` leaves these as they are.
const COOKIE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:1em auto;padding:0 1em}\
    pre{background:#f4f4f4;padding:.5em;overflow:auto}nav a{margin-right:.5em}\
    .error{color:#a00}label{display:block;margin:.5em 0}";

/// What is asked for: the decoded path behind the format, and the method that it names.
pub(crate) struct Page<'a> {
    verb: &'a str,
    path: &'a str,
    method: Option<&'static Method>,
}

impl<'a> Page<'a> {
    pub(crate) fn of_path(verb: &'a str, path: &'a str, method: Option<&'static Method>) -> Self {
        Self { verb, path, method }
    }

    fn is_login(&self) -> bool {
        self.method.is_some_and(|method| method.path == LOGIN)
    }

    pub(super) fn of(&self, envelope: &Value) -> Response {
        match (self.is_login(), self.verb) {
            (true, "POST") => logged_in(&envelope["data"]),
            (true, _) => Format::Html.answer(StatusCode::OK, self.whole(&login_form())),
            (false, _) => {
                let result = self.links(&envelope["data"]).unwrap_or_else(|| pretty(envelope));
                Format::Html.answer(StatusCode::OK, self.whole(&result))
            }
        }
    }

    pub(super) fn of_error(&self, error: &ApiError) -> Response {
        let alert = format!("<p class=\"error\">Error {}</p>", encode(&error.to_string()));
        let rest = if self.is_login() { login_form() } else { pretty(&error.shown()) };
        Format::Html.answer(error.status(), self.whole(&format!("{alert}{rest}")))
    }

    /// The member of a row that is the next part of the path, if the method's answer has such rows.
    fn child(&self) -> Option<String> {
        let returns = self.method?.returns();
        let links = returns["links"].as_array()?;
        let child = links.iter().find(|link| link["rel"] == "child")?;
        let name = child["href"].as_str()?.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.to_owned())
    }

    fn links(&self, data: &Value) -> Option<String> {
        let (child, rows) = (self.child()?, data.as_array()?);
        let name = |row: &Value| match &row[&child] {
            Value::String(name) => Some(name.clone()),
            Value::Number(name) => Some(name.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let mut named: Vec<_> =
            rows.iter().filter_map(|row| name(row).map(|name| (name, row))).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        let item = |(name, row): &(String, &Value)| {
            format!("<h4>{}</h4>{}", link(&self.below(name), name), pretty(row))
        };
        Some(named.iter().map(item).collect())
    }

    fn below(&self, name: &str) -> String {
        let mut url = BASE.to_owned();
        for part in target::parts(self.path).chain([name]) {
            write!(url, "/{}", target::encode(part)).expect("a String takes everything");
        }
        url
    }

    fn whole(&self, content: &str) -> String {
        let mut trail = vec![link(BASE, "Home")];
        let mut url = BASE.to_owned();
        for part in target::parts(self.path) {
            write!(url, "/{}", target::encode(part)).expect("a String takes everything");
            trail.push(link(&url, part));
        }
        let (title, trail) = (encode(&format!("{} {}", self.verb, self.path)), trail.join("/ "));
        let name = self.method.map_or("", |method| method.name);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>{title} - Proxmox VE API</title><style>{STYLE}</style></head>\
             <body><nav>{trail}</nav><h3>{title}</h3><p>{name}</p>{content}</body></html>\n"
        )
    }
}

/// To the start page, with the ticket for the way.
fn logged_in(data: &Value) -> Response {
    let ticket = data["ticket"].as_str().unwrap_or_default();
    let ticket = utf8_percent_encode(ticket, COOKIE);
    let cookie = format!("PVEAuthCookie={ticket}; path=/; secure; SameSite=Lax;");
    let mut response = Response::default();
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    set_reason(&mut response, "Moved");
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static(BASE));
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

fn login_form() -> String {
    format!(
        "<form method=\"POST\" action=\"{BASE}{LOGIN}\">\
         <label>User name <input name=\"username\" required autofocus></label>\
         <label>Password <input type=\"password\" name=\"password\" required></label>\
         <button>Sign in</button></form>"
    )
}

fn link(url: &str, text: &str) -> String {
    format!("<a href=\"{}\">{}</a>", encode(url), encode(text))
}

fn pretty(value: &Value) -> String {
    format!("<pre>{}</pre>", encode(&format!("{value:#}")))
}

#[cfg(test)]
mod tests {
    use openapi::schema::methods;
    use serde_json::json;

    use super::*;

    fn page(path: &'static str, template: &str) -> Page<'static> {
        Page::of_path("GET", path, methods().get("GET", template))
    }

    #[test]
    fn links_what_lies_below() {
        let page = page("//nodes/", "/nodes");

        let links = page.links(&json!([{"node": "pve2"}, {"node": "pve1", "x": 1}, {}])).unwrap();

        let first = links.find("<a href=\"/api2/html/nodes/pve1\">pve1</a>").unwrap();
        assert!(first < links.find("/api2/html/nodes/pve2").unwrap(), "{links}");
    }

    #[test]
    fn nothing_that_came_from_outside_is_markup() {
        let whole = page("/nodes/<b>\"", "/nodes").whole(&pretty(&json!("<script>")));

        assert!(!whole.contains("<b>") && !whole.contains("<script>"), "{whole}");
        assert!(whole.contains("/nodes/%3Cb%3E%22"), "{whole}");
    }

    #[test]
    fn a_login_is_a_cookie_and_a_way_home() {
        let response = logged_in(&json!({"ticket": "PVE:a@pve:1::x+/="}));

        assert_eq!(response.status(), 301);
        assert_eq!(response.headers()[header::LOCATION], "/api2/html");
        assert_eq!(
            response.headers()[header::SET_COOKIE],
            "PVEAuthCookie=PVE%3Aa%40pve%3A1%3A%3Ax%2B%2F%3D; path=/; secure; SameSite=Lax;"
        );
    }
}
