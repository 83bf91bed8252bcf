//! Which headers go through, and how requests that went through once are known again.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::listen::Peer;

const US: &str = "proxmox-lxcri";
const VIA: HeaderValue = HeaderValue::from_static("1.1 proxmox-lxcri");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// For one connection only (RFC 9110, 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let kept = headers.iter().filter(|(name, _)| {
        !HOP_BY_HOP.contains(name)
            && **name != header::TRAILER
            && !named.iter().any(|hop| hop == name.as_str())
    });
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub(super) fn sign(headers: &mut HeaderMap, peer: Option<&Peer>) {
    headers.append(header::VIA, VIA);
    if let Some(address) = peer.and_then(|peer| peer.address())
        && let Ok(address) = HeaderValue::try_from(address.ip().to_string())
    {
        headers.append(FORWARDED_FOR, address);
    }
}

/// Where pveproxy leads back here, a second round would have no end.
pub(crate) fn came_from_us(headers: &HeaderMap) -> bool {
    let via = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    via.flat_map(|value| value.split(',')).any(|hop| hop.split_whitespace().nth(1) == Some(US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_what_is_for_one_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
            ("set-cookie", "a"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.append("set-cookie", HeaderValue::from_static("b"));

        let kept = end_to_end(&headers);

        assert_eq!(kept.len(), 3);
        assert_eq!(kept.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn knows_what_it_sent() {
        let mut headers = HeaderMap::new();
        headers.append(header::VIA, HeaderValue::from_static("1.0 other, 1.1 else"));
        assert!(!came_from_us(&headers));
        sign(&mut headers, None);
        assert!(came_from_us(&headers));
    }
}
