//! `redirect`: sends clients elsewhere, without asking the upstream.

use std::borrow::Cow;

use extproc::{Exchange, Headers, HeadersReply, Immediate, Processor, Reply};
use thiserror::Error;

/// Why a redirect cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedirectError {
    /// Only 301, 302, 303, 307 and 308 name a place to go to.
    #[error("{0} is no status of a redirect: 301, 302, 303, 307 or 308")]
    Status(u16),
    /// The place has a byte that no header may have, or is empty.
    #[error("`{0}` is no place to redirect to")]
    To(String),
}

/// Redirects requests whose path begins with a prefix.
#[derive(Clone, Debug)]
pub struct Redirect {
    from: String,
    to: String,
    status: u16,
}

impl Redirect {
    /// Where `to` has `{path}`, the request's path and query stand there: `https://new.example{path}`.
    ///
    /// # Errors
    /// One of [`RedirectError`].
    pub fn try_new(from: &str, to: &str, status: u16) -> Result<Self, RedirectError> {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Err(RedirectError::Status(status));
        }
        if to.is_empty() || !to.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RedirectError::To(to.to_owned()));
        }
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            status,
        })
    }
}

impl Processor for Redirect {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("redirect")
    }

    async fn request_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        let path = exchange.path_and_query().unwrap_or_default();
        if !path.starts_with(&self.from) {
            return Ok(HeadersReply::unchanged());
        }
        // A path of two slashes would be read as a host, where `{path}` stands alone.
        let path = if self.to.starts_with("{path}") {
            Cow::Owned(format!("/{}", path.trim_start_matches('/')))
        } else {
            Cow::Borrowed(path)
        };
        let place = self.to.replace("{path}", &path);
        Err(Immediate::redirect(self.status, place)
            .details("extproc_redirect")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Talk;

    #[tokio::test]
    async fn redirects_what_begins_with_the_prefix() {
        let redirect = Redirect::try_new("/old", "https://new.example{path}", 308).unwrap();
        let talk = Talk::new(redirect.clone()).get("/old/a?b=c").reply(200, "").await;
        let answer = talk.immediate().unwrap();
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), ["https://new.example/old/a?b=c"]);
        let talk = Talk::new(redirect).get("/new").reply(200, "here").await;
        assert_eq!(talk.client_body(), "here");
    }

    #[tokio::test]
    async fn a_path_is_never_taken_for_a_host() {
        let redirect = Redirect::try_new("", "{path}/", 307).unwrap();
        let talk = Talk::new(redirect).get("//evil.example").reply(200, "").await;
        assert_eq!(talk.immediate().unwrap().header("location"), ["/evil.example/"]);
    }

    #[test]
    fn refuses_what_is_no_redirect() {
        let error = |to, status| Redirect::try_new("/", to, status).unwrap_err();
        assert_eq!(error("/a", 200), RedirectError::Status(200));
        for to in ["", "/a b", "/a\n"] {
            assert_eq!(error(to, 308), RedirectError::To(to.into()));
        }
    }
}
