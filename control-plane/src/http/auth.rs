//! The token: with one configured, every call but health and metrics needs `authorization: Bearer`.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::App;
use super::problem::{Error, Kind};

/// A shared secret. Never shown.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// Takes visible ASCII without white space around it.
    ///
    /// # Errors
    /// One sentence for a token that is empty or holds what a header value cannot.
    pub fn try_new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the token is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token holds something other than visible ASCII");
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// True if `header` carries it. Takes as long whatever the first difference is.
    fn is_in(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, given)) = header.and_then(|value| value.split_at_checked(7)) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(self.0.ct_eq(given.trim_ascii()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Lets a call through, or answers 401.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    match &app.token {
        Some(token) if !token.is_in(given) => {
            app.metrics.unauthorized.inc();
            let detail = match given {
                Some(_) => "the token is not the control plane's",
                None => "the control plane asks for authorization: Bearer",
            };
            Error::new(Kind::Unauthorized, detail).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_the_whole_token() {
        let token = Token::try_new("secret\n").unwrap();
        assert!(token.is_in(Some(b"Bearer secret")), "must take the token");
        for header in [
            &b"Bearer secre"[..],
            b"Bearer secrets",
            b"secret",
            b"Bearer",
            b"Basic secret",
            b"",
        ] {
            assert!(!token.is_in(Some(header)), "must refuse {header:?}");
        }
        assert!(!token.is_in(None), "must refuse its absence");
    }

    #[test]
    fn refuses_tokens_no_header_can_carry() {
        assert!(
            Token::try_new(" ").is_err() && Token::try_new("a b").is_err(),
            "must be refused"
        );
    }

    #[test]
    fn is_never_shown() {
        assert_eq!(
            format!("{:?}", Token::try_new("secret").unwrap()),
            "Token(..)",
            "must not be shown"
        );
    }
}
