//! `headers`: sets, adds and removes headers of requests and responses as it was told.

use std::{borrow::Cow, str::FromStr};

use extproc::{Exchange, Headers, HeadersReply, Processor, Reply};
use thiserror::Error;

/// One change of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Overwrites what stands under the name, or adds it.
    Set(String, String),
    /// Adds another value.
    Append(String, String),
    /// Sets it where there is none of the name.
    SetIfAbsent(String, String),
    /// Removes every value.
    Remove(String),
}

/// A text is not `NAME: VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no header: write NAME: VALUE")]
pub struct NotAHeader(String);

/// A name and a value, for [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(pub String, pub String);

impl FromStr for Field {
    type Err = NotAHeader;

    fn from_str(text: &str) -> Result<Self, NotAHeader> {
        let (name, value) = text.split_once(':').ok_or_else(|| NotAHeader(text.to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return Err(NotAHeader(text.to_owned()));
        }
        Ok(Self(name.to_ascii_lowercase(), value.to_owned()))
    }
}

/// Changes headers. Later changes of a name win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// Of requests.
    pub request: Vec<Change>,
    /// Of responses.
    pub response: Vec<Change>,
}

fn changed(changes: &[Change]) -> HeadersReply {
    changes
        .iter()
        .fold(HeadersReply::unchanged(), |reply, change| match change {
            Change::Set(name, value) => reply.set(name, value),
            Change::Append(name, value) => reply.append(name, value),
            Change::SetIfAbsent(name, value) => reply.set_if_absent(name, value),
            Change::Remove(name) => reply.remove(name),
        })
}

impl Processor for HeaderChanges {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("headers")
    }

    async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(changed(&self.request))
    }

    async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(changed(&self.response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Talk;

    #[tokio::test]
    async fn changes_what_it_was_told() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let make = |kind: fn(String, String) -> Change, (name, value)| kind(name, value);
        let changes = HeaderChanges {
            request: vec![
                make(Change::Set, field("x-set", "new")),
                make(Change::Append, field("x-add", "2")),
                make(Change::SetIfAbsent, field("x-there", "no")),
                make(Change::SetIfAbsent, field("x-away", "yes")),
                Change::Remove("x-gone".into()),
            ],
            response: vec![Change::Remove("server".into())],
        };
        let talk = Talk::new(changes)
            .header("x-set", "old")
            .header("x-add", "1")
            .header("x-there", "kept")
            .header("x-gone", "1")
            .response_header("server", "secret")
            .get("/a")
            .reply(200, "")
            .await;
        let header = |name: &str| talk.upstream_header(name);
        assert_eq!(header("x-set").as_deref(), Some("new"));
        assert_eq!(header("x-add").as_deref(), Some("1, 2"));
        assert_eq!(header("x-there").as_deref(), Some("kept"));
        assert_eq!(header("x-away").as_deref(), Some("yes"));
        assert_eq!(header("x-gone"), None);
        assert_eq!(talk.client_header("server"), None);
    }

    #[test]
    fn reads_a_header_as_it_is_written() {
        let field = |name: &str, value: &str| Ok(Field(name.to_owned(), value.to_owned()));
        assert_eq!("X-A: b: c ".parse(), field("x-a", "b: c"));
        assert_eq!("x-a:".parse(), field("x-a", ""));
        for text in ["", "x-a", ": b"] {
            assert_eq!(text.parse::<Field>(), Err(NotAHeader(text.to_owned())));
        }
    }
}
