//! One repository of one registry: where it is, and requests with bounded answers.

use std::time::Duration;

use oci_spec::distribution::Reference;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::RegistryError;
use crate::error::printable;

const MAX_REDIRECTS: usize = 10;
/// For an answer that is not a blob, from the first byte to the last.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_REFUSAL: usize = 64 << 10;
/// Where Docker Hub's images are, which its name is not.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A repository, with the right to read it once that was asked for.
pub struct Registry {
    client: Client,
    /// As errors name it.
    pub(super) host: String,
    base: Url,
    pub(super) reference: Reference,
    token: Option<SecretString>,
}

impl Registry {
    /// `builder` has what the caller decides: proxy, certificates, time-outs; redirects are decided
    /// here. A registry on this machine may be one without TLS; all others have to have it.
    pub async fn open(reference: &str, builder: ClientBuilder) -> Result<Self, RegistryError> {
        let parsed = reference.parse::<Reference>().map_err(|source| RegistryError::Reference {
            reference: reference.to_owned(),
            source,
        })?;
        let host = match parsed.registry() {
            name if name == DOCKER_HUB.0 => DOCKER_HUB.1,
            name => name,
        };
        let host = host.to_owned();
        let client = builder.redirect(Policy::custom(redirect)).build();
        let client =
            client.map_err(|source| RegistryError::Client { host: host.clone(), source })?;
        let base = base("https", &host)?;
        let mut registry = Self { client, host, base, reference: parsed, token: None };
        if is_local(&registry.base) && !registry.speaks_tls().await {
            registry.base = self::base("http", &registry.host)?;
        }
        Ok(registry)
    }

    async fn speaks_tls(&self) -> bool {
        self.client.get(self.base.clone()).timeout(PATIENCE).send().await.is_ok()
    }

    /// Below `/v2/REPOSITORY/`.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let path = format!("{}/{path}", self.reference.repository());
        self.base.join(&path).map_err(|err| RegistryError::Challenge {
            host: self.host.clone(),
            why: format!("{err}: {}", printable(path.as_bytes())),
        })
    }

    /// With a token, if the registry asks for one; one that has run out is renewed.
    pub(super) async fn get(
        &mut self,
        url: Url,
        accept: &str,
        whole: bool,
    ) -> Result<Response, RegistryError> {
        let response = self.send(url.clone(), accept, whole).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.require_success(response).await;
        }
        self.token = Some(self.authenticate(response).await?);
        let response = self.send(url, accept, whole).await?;
        self.require_success(response).await
    }

    async fn send(&self, url: Url, accept: &str, whole: bool) -> Result<Response, RegistryError> {
        let mut request = self.client.get(url).header(header::ACCEPT, accept);
        if whole {
            request = request.timeout(PATIENCE);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        request.send().await.map_err(|source| self.failed(source))
    }

    /// Without the repository's token: realms are other servers.
    pub(super) async fn get_token(&self, url: Url) -> Result<Response, RegistryError> {
        let sent = self.client.get(url).timeout(PATIENCE).send().await;
        self.require_success(sent.map_err(|source| self.failed(source))?).await
    }

    async fn require_success(&self, response: Response) -> Result<Response, RegistryError> {
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        // What it says besides is a help and nothing more.
        let body = self.bytes(response, MAX_REFUSAL, "a refusal").await.unwrap_or_default();
        let said = serde_json::from_slice::<Refusal>(&body).ok().and_then(Refusal::text);
        let said = said.map(|text| format!(": {}", printable(text.as_bytes()))).unwrap_or_default();
        Err(RegistryError::Status { host: self.host.clone(), status, said })
    }

    /// All of an answer, which may have so many bytes and no more.
    pub(super) async fn bytes(
        &self,
        mut response: Response,
        limit: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.failed(source))? {
            if body.len() + piece.len() > limit {
                return Err(RegistryError::TooLong { host: self.host.clone(), what, limit });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        body: &[u8],
        what: &'static str,
    ) -> Result<T, RegistryError> {
        let host = || self.host.clone();
        serde_json::from_slice(body).map_err(|source| RegistryError::Json {
            host: host(),
            what,
            source,
        })
    }

    pub(super) fn failed(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Http { host: self.host.clone(), source }
    }
}

fn base(scheme: &str, host: &str) -> Result<Url, RegistryError> {
    Url::parse(&format!("{scheme}://{host}/v2/"))
        .map_err(|err| RegistryError::Challenge { host: host.to_owned(), why: err.to_string() })
}

/// This machine's own: what is sent there is on no wire.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    let trusted = attempt.url().scheme() == "https"
        || attempt.previous().iter().all(is_local) && is_local(attempt.url());
    if trusted {
        attempt.follow()
    } else {
        attempt.error("redirected to where nothing is encrypted")
    }
}

/// The specification's error answer.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    fn text(self) -> Option<String> {
        let Reason { code, message } = self.errors.into_iter().next()?;
        Some(if message.is_empty() { code } else { message })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://localhost:5000/", true)]
    #[case("http://127.1.2.3/", true)]
    #[case("http://[::1]:1/", true)]
    #[case("http://10.0.0.1/", false)]
    #[case("http://localhost.example.com/", false)]
    fn knows_this_machine(#[case] url: &str, #[case] local: bool) {
        assert_eq!(is_local(&url.parse().unwrap()), local);
    }
}
