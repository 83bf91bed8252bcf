//! The names a repository has for its images.

use std::collections::HashSet;

use reqwest::{Response, Url, header};
use serde::Deserialize;

use super::connection::Registry;
use super::error::RegistryError;

const MAX_PAGE: usize = 4 << 20;
/// All pages together; the largest repository of Docker Hub has a tenth.
const MAX_TAGS: usize = 200_000;

#[derive(Deserialize)]
struct Page {
    /// Some say null for none.
    tags: Option<Vec<String>>,
}

impl Registry {
    /// In the registry's order.
    pub async fn tags(&mut self) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(self.url("tags/list")?);
        while let Some(url) = next.filter(|url| seen.insert(url.clone())) {
            let response = self.get(url, "application/json", true).await?;
            next = following(&response);
            let body = self.bytes(response, MAX_PAGE, "a list of tags").await?;
            tags.extend(self.parse::<Page>(&body, "a list of tags")?.tags.unwrap_or_default());
            if tags.len() > MAX_TAGS || seen.len() > MAX_TAGS {
                let host = self.host.clone();
                return Err(RegistryError::TooLong { host, what: "tags", limit: MAX_TAGS });
            }
        }
        Ok(tags)
    }
}

/// Of the same registry only.
fn following(response: &Response) -> Option<Url> {
    let link = response.headers().get(header::LINK)?.to_str().ok()?;
    let next = response.url().join(next_of(link)?).ok()?;
    (next.origin() == response.url().origin()).then_some(next)
}

/// RFC 8288, as far as registries use it: `</v2/a/tags/list?last=x>; rel="next"`.
fn next_of(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let parameter = parameter.trim();
        ["rel=next", "rel=\"next\""].iter().any(|word| parameter.eq_ignore_ascii_case(word))
    };
    parameters.split(';').any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b"))]
    #[case(" <x>;a=b; rel=next", Some("x"))]
    #[case("<x>; rel=\"prev\"", None)]
    #[case("<x", None)]
    #[case("", None)]
    fn finds_the_next_page(#[case] link: &str, #[case] next: Option<&str>) {
        assert_eq!(next_of(link), next);
    }
}
