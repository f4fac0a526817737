//! Short texts with a form: names, paths, the parts of a reference to an object.
//!
//! Each says its form twice: to the parser, and as a pattern to the custom resource's schema. A table test holds the
//! two together.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use protocol::deserialize_text;
use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

/// A name as Kubernetes has it: up to 253 of `a-z 0-9 - .`, a letter or digit at both ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength" = 253))]
pub struct Name(String);

impl Default for Name {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = |c: Option<u8>| c.is_some_and(word);
        let inner = text.bytes().all(|c| word(c) || c == b'-' || c == b'.');
        if text.len() > 253 || !inner || !ends(text.bytes().next()) || !ends(text.bytes().last()) {
            return Err(format!(
                "{text:?} is no name: write lower-case letters, digits, '-' and '.'"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Group and version of an API, such as `apps/v1`, or `v1` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?v[a-z0-9]+$", "maxLength" = 317))]
pub struct GroupVersion(String);

impl FromStr for GroupVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (group, version) = match text.split_once('/') {
            Some((group, version)) => (Some(group), version),
            None => (None, text),
        };
        let number = version.strip_prefix('v').unwrap_or_default();
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let group_is_name = group.is_none_or(|group| group.parse::<Name>().is_ok());
        if text.len() > 317 || !group_is_name || number.is_empty() || !number.bytes().all(good) {
            return Err(format!("{text:?} is no API version: write apps/v1, or v1 alone"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Kind of an object, such as `Deployment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[A-Z][A-Za-z0-9]*$", "maxLength" = 63))]
pub struct ObjectKind(String);

impl FromStr for ObjectKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let begins = text.bytes().next().is_some_and(|c| c.is_ascii_uppercase());
        if text.len() > 63 || !begins || !text.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("{text:?} is no kind: write Deployment or StatefulSet"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A path, or path and query, as it stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^/[!-~]*$", "maxLength" = 2048))]
pub struct UrlPath(String);

impl Default for UrlPath {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl FromStr for UrlPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 2048 || !text.starts_with('/') || !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "{text:?} is no path: it begins with '/' and holds no white space"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a request says in `:authority`: a host, and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(extend(
    "pattern" = "^([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?$",
    "maxLength" = 255,
))]
pub struct Authority(String);

impl FromStr for Authority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no authority: write web.example.com or web.example.com:8443");
        if text.len() > 255 {
            return Err("is longer than 255 bytes".to_owned());
        }
        let (host, port) = match text.rsplit_once(':') {
            // The last colon of an address stands within its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let good = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(good),
        };
        let is_port = port.is_none_or(|port| {
            port.starts_with(|first: char| matches!(first, '1'..='9')) && port.parse::<u16>().is_ok()
        });
        if !is_host || !is_port {
            return Err(refuse());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Beginning of a `user-agent`; not empty, or it would stand for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[ -~]+$", "maxLength" = 256))]
pub struct AgentPrefix(String);

impl FromStr for AgentPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty prefix would ignore every request".to_owned());
        }
        let good = |c: u8| c.is_ascii_graphic() || c == b' ';
        if text.len() > 256 || !text.bytes().all(good) {
            return Err(format!("{text:?} is no user agent: write printable ASCII"));
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text {
    ($($word:ident: $expected:literal),* $(,)?) => {$(
        impl $word {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$word> for String {
            fn from(word: $word) -> Self {
                word.0
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $word {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer, $expected, str::parse)
            }
        }
    )*};
}

text! {
    Name: "a name",
    GroupVersion: "an API version: apps/v1",
    ObjectKind: "a kind: Deployment",
    UrlPath: "a path: /healthz",
    Authority: "an authority: web.example.com",
    AgentPrefix: "the beginning of a user agent",
}
