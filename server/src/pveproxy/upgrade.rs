//! Websockets of pveproxy: consoles of virtual machines, of the node, and of other nodes. Once both
//! sides have agreed, bytes go to and fro as they are.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
/// The only protocol that goes through: behind another one requests could hide that nobody judged.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A client's wish to go on with a websocket.
pub(super) struct Wish {
    client: OnUpgrade,
}

impl Wish {
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let lists = |name, word: &str| {
            let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
        };
        let wanted = lists(header::CONNECTION, "upgrade") && lists(header::UPGRADE, "websocket");
        let client = parts.extensions.get::<OnUpgrade>().filter(|_| wanted)?;
        Some(Self { client: client.clone() })
    }

    /// The two headers are for one connection only, so each of both has its own.
    pub(super) fn state(headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, WEBSOCKET);
    }

    /// What to tell the client. An answer that does not agree is one like all others.
    pub(super) fn granted(self, mut answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return answer;
        }
        let server = hyper::upgrade::on(&mut answer);
        Self::state(answer.headers_mut());
        tokio::spawn(async move {
            let relayed = async {
                let (client, server) = tokio::try_join!(self.client, server)?;
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                Ok::<_, anyhow::Error>(copy_bidirectional(&mut client, &mut server).await?)
            };
            if let Err(err) = relayed.await {
                tracing::debug!(error = %err, "a websocket of pveproxy ended: {err}");
            }
        });
        answer
    }
}
