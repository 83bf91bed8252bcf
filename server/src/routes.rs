//! Which declared method a path and verb name. Made once from the served routes; finding one is a
//! walk down a radix tree and no allocation beyond the path's own variables.

use std::fmt::Write as _;

use axum::http::{Method as Verb, Uri};
use openapi::schema::{Method, methods};

use crate::target;

/// The variables that take the rest of the path, slashes and all: a volume's name has them, and a
/// network's.
const GREEDY: [(&str, &str); 2] = [
    ("/content/{volume}", "/content/{*volume}"),
    ("/ipset/{name}/{cidr}", "/ipset/{name}/{*cidr}"),
];

pub(crate) struct Routes(matchit::Router<Route>);

struct Route {
    template: String,
    verbs: Verbs,
}

#[derive(Default)]
struct Verbs {
    get: Option<&'static Method>,
    put: Option<&'static Method>,
    post: Option<&'static Method>,
    delete: Option<&'static Method>,
}

/// A method and the path's variables, decoded.
pub(crate) struct Found {
    pub(crate) method: &'static Method,
    pub(crate) variables: Vec<(String, String)>,
    template: String,
}

impl Routes {
    /// Of everything the router serves. Each must be in the method table, from which the guard
    /// knows who may call it and with what; a test of the router holds us to it.
    pub(crate) fn of<'a>(served: impl Iterator<Item = (&'a str, &'a [&'static str])>) -> Self {
        let mut router = matchit::Router::new();
        for (template, verbs) in served {
            let route = Route { template: template.to_owned(), verbs: Verbs::of(template, verbs) };
            let greedy = GREEDY
                .iter()
                .find_map(|(end, greedy)| Some(format!("{}{greedy}", template.strip_suffix(end)?)));
            let pattern = greedy.unwrap_or_else(|| template.to_owned());
            router.insert(pattern, route).expect("the router took the same templates");
        }
        Self(router)
    }

    /// `path` is decoded; its empty parts do not count.
    pub(crate) fn find(&self, verb: &Verb, path: &str) -> Option<Found> {
        let path = normal(path);
        let matched = self.0.at(&path).ok()?;
        let method = matched.value.verbs.get(verb)?;
        let variables: Vec<_> = matched
            .params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // PVE's variables are `\S+`.
        if variables.iter().any(|(_, value)| value.contains(char::is_whitespace)) {
            return None;
        }
        Some(Found { method, variables, template: matched.value.template.clone() })
    }
}

fn normal(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    for part in target::parts(path) {
        normal.push('/');
        normal.push_str(part);
    }
    if normal.is_empty() { "/".to_owned() } else { normal }
}

impl Verbs {
    fn of(template: &str, verbs: &[&str]) -> Self {
        let declared = |verb: &str| {
            verbs.contains(&verb).then(|| {
                methods().get(verb, template).unwrap_or_else(|| {
                    panic!("{verb} {template} is served but not in the method table")
                })
            })
        };
        Self {
            get: declared("GET"),
            put: declared("PUT"),
            post: declared("POST"),
            delete: declared("DELETE"),
        }
    }

    fn get(&self, verb: &Verb) -> Option<&'static Method> {
        match verb.as_str() {
            "GET" => self.get,
            "PUT" => self.put,
            "POST" => self.post,
            "DELETE" => self.delete,
            _ => None,
        }
    }
}

impl Found {
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path in the one spelling that the router knows: no empty parts, each variable one part.
    pub(crate) fn uri(&self) -> Uri {
        let mut uri = String::new();
        for part in target::parts(&self.template) {
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let part = name.and_then(|name| self.variable(name)).unwrap_or(part);
            write!(uri, "/{}", target::encode(part)).expect("a String takes everything");
        }
        if uri.is_empty() {
            uri.push('/');
        }
        uri.parse().expect("what does not belong in a path is percent-encoded")
    }
}
