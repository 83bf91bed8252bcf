//! Why a registry's image could not be had. What a registry says is escaped and cut. A message does
//! not repeat its source: print the chain.

use std::io;

use oci_spec::distribution::ParseError;

use crate::oci::DocumentError;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("'{reference}' names no image")]
    Reference { reference: String, source: ParseError },
    #[error("cannot prepare requests to registry '{host}'")]
    Client { host: String, source: reqwest::Error },
    #[error("cannot ask registry '{host}'")]
    Http { host: String, source: reqwest::Error },
    #[error("registry '{host}' answered '{status}'{said}")]
    Status { host: String, status: reqwest::StatusCode, said: String },
    #[error("registry '{0}' wants a login, and only what is public can be had")]
    Login(String),
    #[error("registry '{host}' asks for authentication in a way that is not understood: {why}")]
    Challenge { host: String, why: String },
    #[error("registry '{host}' names '{realm}' for tokens, which is neither https nor local")]
    Realm { host: String, realm: String },
    #[error("the answer of registry '{host}' is longer than {limit} bytes: {what}")]
    TooLong { host: String, what: &'static str, limit: usize },
    #[error("the answer of registry '{host}' is not valid: {what}")]
    Json { host: String, what: &'static str, source: serde_json::Error },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("blob {digest} is not what the registry sent: that has the digest sha256:{got}")]
    Digest { digest: String, got: String },
    #[error("blob {digest} is longer than the {announced} bytes that the manifest says")]
    Endless { digest: String, announced: u64 },
    #[error("blob {digest} ended after {got} of {announced} bytes")]
    Short { digest: String, got: u64, announced: u64 },
    #[error("the image needs {needed} bytes and there are {available}")]
    Space { needed: u64, available: u64 },
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}
