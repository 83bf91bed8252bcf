//! The right to read a public repository: the token that a registry's challenge sends one to get
//! (the distribution project's "Token Authentication Specification").

use reqwest::{Response, Url, header};
use secrecy::SecretString;
use serde::Deserialize;

use super::connection::{Registry, is_local};
use super::error::RegistryError;
use crate::error::printable;

const MAX_TOKEN: usize = 1 << 20;

/// What `WWW-Authenticate` asks for, as far as anonymous readers can give it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bearer {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

impl Registry {
    pub(super) async fn authenticate(
        &self,
        refused: Response,
    ) -> Result<SecretString, RegistryError> {
        let host = || self.host.clone();
        let challenges = refused.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenges: Vec<_> = challenges.filter_map(|value| value.to_str().ok()).collect();
        let bearer = match bearer(&challenges) {
            Ok(Some(bearer)) => bearer,
            Ok(None) => return Err(RegistryError::Login(host())),
            Err(why) => return Err(RegistryError::Challenge { host: host(), why }),
        };
        let realm =
            || RegistryError::Realm { host: host(), realm: printable(bearer.realm.as_bytes()) };
        let mut url: Url = bearer.realm.parse().map_err(|_| realm())?;
        // A local registry may send one to a local realm.
        let local = refused.url().scheme() == "http" && is_local(&url);
        if url.scheme() != "https" && !local {
            return Err(realm());
        }
        let scope = bearer
            .scope
            .unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository()));
        url.query_pairs_mut()
            .extend_pairs(bearer.service.map(|service| ("service", service)))
            .append_pair("scope", &scope);
        let answer = self.get_token(url).await?;
        let body = self.bytes(answer, MAX_TOKEN, "a token").await?;
        let token: Token = self.parse(&body, "a token")?;
        token.token.or(token.access_token).ok_or_else(|| RegistryError::Challenge {
            host: host(),
            why: "its answer has no token".to_owned(),
        })
    }
}

/// `None` if there are challenges, and none of them is for the anonymous.
fn bearer(challenges: &[&str]) -> Result<Option<Bearer>, String> {
    for text in challenges {
        let parsed = http_auth::parse_challenges(text).map_err(|err| err.to_string())?;
        for challenge in parsed {
            if !challenge.scheme.eq_ignore_ascii_case("bearer") {
                continue;
            }
            let mut bearer = Bearer::default();
            for (name, value) in &challenge.params {
                match name.to_ascii_lowercase().as_str() {
                    "realm" => bearer.realm = value.to_unescaped(),
                    "service" => bearer.service = Some(value.to_unescaped()),
                    "scope" => bearer.scope = Some(value.to_unescaped()),
                    _ => {}
                }
            }
            return Ok(Some(bearer));
        }
    }
    if challenges.is_empty() { Err("it sends no challenge".to_owned()) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::docker_hub(
        &[r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#],
        ("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull"))
    )]
    #[case::beside_basic(
        &["Basic realm=\"x\"", "bearer REALM=\"https://r\""],
        ("https://r", None, None)
    )]
    fn reads(#[case] challenges: &[&str], #[case] is: (&str, Option<&str>, Option<&str>)) {
        let (realm, service, scope) = is;
        let expected = Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        assert_eq!(bearer(challenges), Ok(Some(expected)));
    }

    #[rstest]
    #[case::login(&["Basic realm=\"x\""], Some(()))]
    #[case::nothing(&[], None)]
    #[case::rubbish(&["Bearer realm=\""], None)]
    fn refuses(#[case] challenges: &[&str], #[case] login: Option<()>) {
        match login {
            Some(()) => assert_eq!(bearer(challenges), Ok(None)),
            None => assert!(bearer(challenges).is_err()),
        }
    }
}
