//! The page that shows the API's document: to anyone, and from this server alone.

use std::collections::BTreeSet;

use tests::{Client, Daemon, Reply};

fn get(daemon: &Daemon, path: &str) -> Reply {
    Client::new(daemon.address()).request(&format!("GET {path}"), &[], b"")
}

/// Whatever a page names by `src` or `href`.
fn named(page: &str) -> BTreeSet<String> {
    let parts = page.split(['"', '\'']).collect::<Vec<_>>();
    let is_name = |before: &str| before.ends_with("src=") || before.ends_with("href=");
    parts.windows(2).filter(|pair| is_name(pair[0])).map(|pair| pair[1].to_owned()).collect()
}

#[test]
fn the_page_is_made_of_our_own_files() {
    let daemon = Daemon::start();
    let moved = get(&daemon, "/api-docs");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/api-docs/")));
    let page = get(&daemon, "/api-docs/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));

    let files = named(&page.text());
    assert!(files.iter().any(|name| name.ends_with("swagger-ui-bundle.js")), "{files:?}");
    for name in &files {
        assert!(!name.contains("//"), "{name} is elsewhere");
        let file = get(&daemon, &format!("/api-docs/{}", name.trim_start_matches("./")));
        assert_eq!(file.status, 200, "{name}");
        assert!(!file.body.is_empty(), "{name}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{name}");
        let kind = file.header("content-type").unwrap();
        let expected = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/png",
        };
        assert_eq!(kind, expected, "{name}");
        if name.ends_with(".css") {
            let text = file.text();
            let mut addresses = text.split("url(").skip(1);
            assert!(
                addresses.all(|rest| rest.trim_start_matches(['"', '\'']).starts_with("data:"))
            );
            assert!(!text.contains("@import"), "{name}");
        }
    }
}

#[test]
fn the_page_shows_our_document_and_asks_nobody_else() {
    let daemon = Daemon::start();
    let page = get(&daemon, "/api-docs/");
    let policy = page.header("content-security-policy").unwrap();
    let sources: BTreeSet<_> =
        policy.split(';').flat_map(|rule| rule.split_whitespace().skip(1)).collect();
    let allowed = BTreeSet::from(["'none'", "'self'", "'unsafe-inline'", "data:"]);
    assert!(sources.is_subset(&allowed), "{policy}");
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!page.text().contains("<script>"), "a script within the page would not run");

    let settings = get(&daemon, "/api-docs/swagger-initializer.js").text();
    assert!(settings.contains("\"url\": \"/api2/openapi.json\""), "{settings}");
    assert!(settings.contains("\"validatorUrl\": \"none\""), "{settings}");
    assert!(!settings.contains("//petstore"), "{settings}");
    assert!(get(&daemon, "/api2/openapi.json").json()["openapi"].is_string());
}

#[test]
fn the_page_gives_no_other_files() {
    let daemon = Daemon::start();
    for path in ["/api-docs/nope.js", "/api-docs/../etc/passwd", "/api-docs/%2e%2e/x"] {
        assert_eq!(get(&daemon, path).status, 500, "{path}");
    }
    assert_eq!(get(&daemon, "/api-docsx").line(), "500 no such file '/api-docsx'");
}
