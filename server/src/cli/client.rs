//! The daemon's API from the command line, over its socket here or by URL. Thin: what is asked and what
//! is answered goes through as it is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use openapi::{NodeName, Upid, Vmid};
use pve_integration::layout::{InvalidRoot, Root};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::{pveproxy, target};

const PREFIX: &str = "PVEAPIToken=";
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two pieces of an answer. What takes long is a task.
const READ_PATIENCE: Duration = Duration::from_secs(120);
/// PVE's clients are often given it with the address.
const API: &str = "/api2/json";

/// Which daemon, and how its answers are shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "The daemon")]
pub struct Target {
    /// Ask the daemon at this address, say https://pve1:8006, not the one on this machine.
    #[arg(long, global = true, value_name = "URL")]
    api: Option<Url>,
    /// An API token for it: USER@REALM!NAME=SECRET. Whoever may list processes sees it here.
    #[arg(long, global = true, value_parser = secret, conflicts_with = "token_file")]
    token: Option<SecretString>,
    /// The file that holds the token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to know it by, its own or its authority's, instead of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The directory that the daemon on this machine serves.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The node that is meant, unless it is the one that is asked.
    #[arg(long, global = true)]
    node: Option<NodeName>,
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.to_owned().into())
}

impl Target {
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.api.is_some()
    }

    pub(crate) fn root(&self) -> Result<Root, ClientError> {
        Ok(Root::new(&self.root)?)
    }

    /// PVE takes `localhost` for the node that answers.
    fn node(&self) -> &str {
        self.node.as_ref().map_or("localhost", |node| node.as_str())
    }

    pub(crate) fn guests(&self) -> String {
        format!("/nodes/{}/lxc", self.node())
    }

    /// What concerns every guest of the node.
    pub(crate) fn all(&self, below: &str) -> String {
        format!("/nodes/{}{below}", self.node())
    }

    pub(crate) fn guest(&self, vmid: Vmid, below: &str) -> String {
        format!("/nodes/{}/lxc/{vmid}{below}", self.node())
    }

    pub(crate) fn oci(&self, below: &str) -> String {
        format!("/nodes/{}/oci{below}", self.node())
    }

    pub(crate) fn tasks(&self) -> String {
        format!("/nodes/{}/tasks", self.node())
    }

    fn token(&self) -> Result<HeaderValue, ClientError> {
        let token: SecretString = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => fs_err::read_to_string(path)?.into(),
            (None, None) => return Err(ClientError::NoToken),
        };
        let bare = token.expose_secret().trim();
        let bare = bare.strip_prefix(PREFIX).unwrap_or(bare);
        let header = HeaderValue::from_str(&format!("{PREFIX}{bare}"));
        let mut header = header.map_err(|_| ClientError::Token)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// A task's path, on the node that it runs on.
pub(crate) fn task(upid: &Upid, below: &str) -> String {
    format!("/nodes/{}/tasks/{}{below}", upid.node(), target::encode(&upid.to_string()))
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Root(#[from] InvalidRoot),
    #[error("--api needs --token or --token-file")]
    NoToken,
    #[error("--token, --token-file and --cacert mean nothing without --api")]
    NoApi,
    #[error("'{0}' is no setting: what follows is --KEY VALUE, as the API names them")]
    Setting(String),
    #[error("the token contains what cannot be sent")]
    Token,
    #[error("'{0}' is no http or https address")]
    Url(Url),
    #[error("no daemon serves '{}': {} is not there", root.display(), socket.display())]
    NoDaemon { root: PathBuf, socket: PathBuf },
    #[error("cannot prepare requests")]
    Prepare(#[source] reqwest::Error),
    #[error("{place} does not answer")]
    Exchange { place: String, source: reqwest::Error },
    /// In the API's own words.
    #[error("{0}")]
    Refused(String),
    #[error("{0} does not answer as PVE's API does")]
    Foreign(String),
    #[error("{0}")]
    Task(String),
    #[error("the task goes on; 'proxmox-lxcri task wait {0}' waits for it")]
    Left(String),
    #[error("'exec' works on the container's own machine, not over --api")]
    RemoteExec,
    #[error("CT {0} is not running")]
    NotRunning(Vmid),
    #[error("the container has no {kind} '{name}'")]
    UnknownUser { kind: &'static str, name: String },
    #[error("cannot look into the container at '{}'", path.display())]
    Inside { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Exec(#[from] super::oci::OciError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ClientError {
    /// Whether the command line is to blame.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoToken | Self::NoApi | Self::Url(_) | Self::Setting(_) | Self::RemoteExec
        )
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
    let builder = builder
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(READ_PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    builder.build().map_err(ClientError::Prepare)
}

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    authorization: Option<HeaderValue>,
    /// For messages.
    place: String,
}

impl Client {
    pub(crate) fn new(target: &Target) -> Result<Self, ClientError> {
        match &target.api {
            Some(url) => Self::remote(target, url),
            None => Self::local(target),
        }
    }

    fn local(target: &Target) -> Result<Self, ClientError> {
        let given = [target.token.is_some(), target.token_file.is_some(), target.cacert.is_some()];
        if given.contains(&true) {
            return Err(ClientError::NoApi);
        }
        let root = target.root()?;
        let socket = root.run_dir().join("api.sock");
        match fs_err::metadata(&socket) {
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(ClientError::NoDaemon { root: root.prefix().to_owned(), socket });
            }
            Err(err) => return Err(err.into()),
        }
        let place = format!("the daemon at {}", socket.display());
        // No certificate is ever looked at, so none of the system's are loaded.
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(pveproxy::known(None, Vec::new()))
            .unix_socket(socket.as_path());
        let http = build(builder)?;
        Ok(Self { http, base: "http://localhost".to_owned(), authorization: None, place })
    }

    fn remote(target: &Target, url: &Url) -> Result<Self, ClientError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ClientError::Url(url.clone()));
        }
        let builder = match &target.cacert {
            Some(file) => {
                // Read once here for its error: the verifier knows none of a file that it cannot read.
                fs_err::metadata(file)?;
                let known = pveproxy::known(Some(file.clone()), vec![file.clone()]);
                reqwest::Client::builder().tls_backend_preconfigured(known)
            }
            None => {
                // Refused if there is one already, which then is the same.
                drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
                reqwest::Client::builder()
            }
        };
        let base = url.as_str().trim_end_matches('/');
        Ok(Self {
            authorization: Some(target.token()?),
            http: build(builder)?,
            base: base.strip_suffix(API).unwrap_or(base).to_owned(),
            place: url.to_string(),
        })
    }

    pub(crate) async fn get(&self, path: &str, query: &[Parameter]) -> Result<Value, ClientError> {
        self.call(Method::GET, path, query).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[Parameter]) -> Result<Value, ClientError> {
        self.call(Method::POST, path, form).await
    }

    pub(crate) async fn put(&self, path: &str, form: &[Parameter]) -> Result<Value, ClientError> {
        self.call(Method::PUT, path, form).await
    }

    pub(crate) async fn delete(
        &self,
        path: &str,
        query: &[Parameter],
    ) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, query).await
    }

    /// A file, as it is.
    pub(crate) async fn text(
        &self,
        path: &str,
        query: &[Parameter],
    ) -> Result<String, ClientError> {
        let response = self.send(Method::GET, path, query).await?;
        if response.status().is_success() {
            return response.text().await.map_err(|source| self.exchange(source));
        }
        Err(self.data(response).await.err().unwrap_or_else(|| self.foreign()))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        parameters: &[Parameter],
    ) -> Result<Value, ClientError> {
        self.data(self.send(method, path, parameters).await?).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[Parameter],
    ) -> Result<reqwest::Response, ClientError> {
        let encoded =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let in_query = matches!(method, Method::GET | Method::DELETE) && !encoded.is_empty();
        let query = if in_query { format!("?{encoded}") } else { String::new() };
        let url = format!("{}{API}{path}{query}", self.base);
        let in_body = matches!(method, Method::POST | Method::PUT);
        let mut request = self.http.request(method, url);
        if in_body {
            request =
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.send().await.map_err(|source| self.exchange(source))
    }

    async fn data(&self, response: reqwest::Response) -> Result<Value, ClientError> {
        let status = response.status();
        let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let body = response.bytes().await.map_err(|source| self.exchange(source))?;
        let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return body.get_mut("data").map(Value::take).ok_or_else(|| self.foreign());
        }
        let fallback = reason.unwrap_or_else(|| status.to_string());
        Err(ClientError::Refused(refusal(&body, fallback)))
    }

    fn exchange(&self, source: reqwest::Error) -> ClientError {
        // The address is in the message already, and a socket's is made up.
        ClientError::Exchange { place: self.place.clone(), source: source.without_url() }
    }

    fn foreign(&self) -> ClientError {
        ClientError::Foreign(self.place.clone())
    }
}

/// Name and value.
pub(crate) type Parameter = (String, String);

/// The message, and what is wrong with each parameter. Old PVE says it only in the status line.
fn refusal(body: &Value, fallback: String) -> String {
    let message = body.get("message").and_then(Value::as_str).map(str::trim);
    let message = message.filter(|message| !message.is_empty()).map_or(fallback, str::to_owned);
    let errors = body.get("errors").and_then(Value::as_object).into_iter().flatten();
    let errors: Vec<_> = errors
        .map(|(name, error)| format!("{name}: {}", error.as_str().unwrap_or_default().trim()))
        .collect();
    if errors.is_empty() {
        return message;
    }
    format!("{}: {}", message.trim_end_matches('.'), errors.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[rstest::rstest]
    #[case::plain(json!({"message": "no such thing\n"}), "no such thing")]
    #[case::parameters(
        json!({"message": "Parameter verification failed.\n", "errors": {"vmid": "too small\n", "x": "unknown"}}),
        "Parameter verification failed: vmid: too small; x: unknown"
    )]
    #[case::old(json!({"data": null}), "599 it")]
    #[case::nothing(Value::Null, "599 it")]
    fn tells_why_in_one_line(#[case] body: Value, #[case] line: &str) {
        assert_eq!(refusal(&body, "599 it".to_owned()), line);
    }
}
