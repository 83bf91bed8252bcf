//! What a request says about who sends it, as `extract_auth_value` of pve-http-server reads it.
//! Whether it is true is for `guard`.

use axum::http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

const TICKET: &str = "PVEAuthCookie";
const TOKEN: &str = "PVEAPIToken";
pub(crate) const CSRF: HeaderName = HeaderName::from_static("csrfpreventiontoken");

/// What was sent. The cookie wins over the header, a ticket over a token.
pub(crate) enum Credentials {
    None,
    Ticket(SecretString),
    Token(SecretString),
}

impl Credentials {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let find = |name, key| {
            headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .find_map(|value| auth_value(value, key))
                .map(SecretString::from)
        };
        if let Some(ticket) =
            find(header::COOKIE, TICKET).or_else(|| find(header::AUTHORIZATION, TICKET))
        {
            return Self::Ticket(ticket);
        }
        find(header::AUTHORIZATION, TOKEN).map_or(Self::None, Self::Token)
    }

    pub(crate) fn is_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }
}

/// Perl: `(?:^|\s)KEY(?:=| )([^;]*)`, unescaped. An empty value is none.
fn auth_value(header: &str, key: &str) -> Option<String> {
    let mut at = 0;
    while let Some(found) = header[at..].find(key) {
        let (start, end) = (at + found, at + found + key.len());
        let begins = header[..start].chars().next_back().is_none_or(char::is_whitespace);
        if begins && let Some(value) = header[end..].strip_prefix(['=', ' ']) {
            let value = value.split(';').next().unwrap_or_default();
            let value = percent_decode_str(value).decode_utf8().ok()?;
            return (!value.is_empty()).then(|| value.into_owned());
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::alone("PVEAuthCookie=PVE:a", Some("PVE:a"))]
    #[case::among_others("lang=de; PVEAuthCookie=PVE%3Aa%3D%3D; x=1", Some("PVE:a=="))]
    #[case::header_with_a_space("PVEAuthCookie PVE:a", Some("PVE:a"))]
    #[case::plus_stays("PVEAuthCookie=a+b", Some("a+b"))]
    #[case::longer_name("XPVEAuthCookie=PVE:a", None)]
    #[case::second_try("XPVEAuthCookie=x; PVEAuthCookie=y", Some("y"))]
    #[case::empty("PVEAuthCookie=", None)]
    #[case::absent("Basic abc", None)]
    fn reads_a_value(#[case] header: &str, #[case] value: Option<&str>) {
        assert_eq!(auth_value(header, TICKET).as_deref(), value);
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn prefers_a_ticket_to_a_token() {
        let headers = headers(&[
            (header::COOKIE, "PVEAuthCookie=t"),
            (header::AUTHORIZATION, "PVEAPIToken=root@pam!a=b"),
        ]);

        assert!(matches!(Credentials::of(&headers), Credentials::Ticket(_)));
    }

    #[test]
    fn takes_a_token_from_the_header_only() {
        let cookie = headers(&[(header::COOKIE, "PVEAPIToken=root@pam!a=b")]);
        let header = headers(&[(header::AUTHORIZATION, "PVEAPIToken=root@pam!a=b")]);

        assert!(matches!(Credentials::of(&cookie), Credentials::None));
        assert!(Credentials::of(&header).is_token());
    }
}
