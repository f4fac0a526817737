//! Something a person should know about a target, in a word and in a sentence.

use std::borrow::Cow;

use serde::Serialize;

/// Something a person should know about a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Condition {
    /// In one word.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// In one sentence.
    pub message: Cow<'static, str>,
}
