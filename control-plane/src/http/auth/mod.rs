//! Decides which caller may call what: with a token configured, every call but health and metrics needs `authorization: Bearer` with
//! one that is good for it.

mod token;

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Error, Kind};
use super::refusals::From;
use super::server::{LetThrough, Peer};
pub use token::Token;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Proxies sync and report.
    Proxy,
    /// People look at targets, wake them and send them to sleep.
    Operator,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Operator => "operator",
        }
    }
}

/// The tokens there are. None at all: every caller may call everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Good for every call.
    pub all: Vec<Token>,
    /// Good for the calls of proxies.
    pub proxies: Vec<Token>,
    /// Good for the calls of people.
    pub operators: Vec<Token>,
}

impl Tokens {
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.proxies.is_empty() && self.operators.is_empty()
    }

    /// What one is told whose call is not let through.
    fn check(&self, part: Part, header: Option<&[u8]>) -> Result<(), Refused> {
        if self.is_empty() {
            return Ok(());
        }
        let header = header.ok_or(Refused::Missing)?;
        let (own, others) = match part {
            Part::Proxy => (&self.proxies, &self.operators),
            Part::Operator => (&self.operators, &self.proxies),
        };
        // All are compared, so that the time tells nothing of which.
        let is_one_of = |tokens: &[Token]| tokens.iter().filter(|token| token.is_in(header)).count() > 0;
        let (good, other) = (is_one_of(&self.all) | is_one_of(own), is_one_of(others));
        match (good, other) {
            (true, _) => Ok(()),
            (false, true) => Err(Refused::OfOthers),
            (false, false) => Err(Refused::Unknown),
        }
    }
}

/// Why a call is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Missing,
    Unknown,
    OfOthers,
}

impl Refused {
    const fn name(self) -> &'static str {
        match self {
            Self::Missing => "no token",
            Self::Unknown => "wrong token",
            Self::OfOthers => "token of other calls",
        }
    }

    fn answer(self) -> Error {
        match self {
            Self::Missing => Error::new(
                Kind::Unauthorized,
                "the control plane asks for authorization: Bearer",
            ),
            Self::Unknown => Error::new(Kind::Unauthorized, "the token is not the control plane's"),
            Self::OfOthers => Error::new(Kind::Forbidden, "the token is good for other calls only"),
        }
    }
}

/// The tokens as they are now. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<RwLock<Arc<Tokens>>>);

impl Keyring {
    /// These, until others take their place.
    pub fn new(tokens: Tokens) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(tokens))))
    }

    /// From now on these.
    pub fn replace(&self, tokens: Tokens) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    /// Those of now.
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets a call through, or answers 401; 403 to a token that is good for other calls.
pub(super) async fn check(
    State((app, part)): State<(Arc<App>, Part)>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let Err(refused) = app.keys.tokens().check(part, given) else {
        let mut response = next.run(request).await;
        response.extensions_mut().insert(LetThrough);
        return response;
    };
    let from = From::new(request.extensions().get().map(|Peer(address)| *address));
    app.metrics.turned_away(from.class(), part.name(), refused.name());
    app.refusals.call(from, part.name(), refused.name());
    refused.answer().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk(all: &[&str], proxies: &[&str], operators: &[&str]) -> Tokens {
        let of = |texts: &[&str]| texts.iter().map(|text| Token::try_new(text).unwrap()).collect();
        Tokens {
            all: of(all),
            proxies: of(proxies),
            operators: of(operators),
        }
    }

    #[test]
    fn a_token_is_good_for_its_part_only() {
        let tokens = mk(&["all"], &["old", "new"], &["people"]);
        let check = |part, token: &str| tokens.check(part, Some(format!("Bearer {token}").as_bytes()));
        for token in ["all", "old", "new"] {
            assert_eq!(check(Part::Proxy, token), Ok(()), "{token}");
        }
        for token in ["all", "people"] {
            assert_eq!(check(Part::Operator, token), Ok(()), "{token}");
        }
        assert_eq!(check(Part::Proxy, "people"), Err(Refused::OfOthers));
        assert_eq!(check(Part::Operator, "new"), Err(Refused::OfOthers));
        assert_eq!(check(Part::Operator, "none"), Err(Refused::Unknown));
        assert_eq!(tokens.check(Part::Proxy, None), Err(Refused::Missing));
    }

    #[test]
    fn a_token_of_one_part_closes_the_other() {
        let tokens = mk(&[], &["proxies"], &[]);
        assert_eq!(tokens.check(Part::Operator, None), Err(Refused::Missing));
        assert_eq!(
            tokens.check(Part::Operator, Some(b"Bearer proxies")),
            Err(Refused::OfOthers)
        );
    }

    #[test]
    fn without_a_token_everybody_may_call() {
        assert_eq!(mk(&[], &[], &[]).check(Part::Operator, None), Ok(()));
    }
}
