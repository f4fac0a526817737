//! The names by which a proxy finds a target: hosts and Envoy clusters.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use protocol::{HOST_MAX, deserialize_text, host_key};
use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

/// A host as it stands in `:authority`, lower case and without port: exact, or `*.suffix`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(extend(
    "pattern" = "^((\\*\\.)?[A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])$",
    "maxLength" = HostKey::MAX_LEN,
))]
pub struct HostKey(String);

impl HostKey {
    /// Longest host there is, in bytes.
    pub const MAX_LEN: usize = HOST_MAX;

    /// The key as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = host_key(text);
        if host.is_empty() {
            return Err("is empty".to_owned());
        }
        if host.len() > Self::MAX_LEN {
            return Err(format!("is longer than {} bytes", Self::MAX_LEN));
        }
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match address.parse::<Ipv6Addr>() {
                Ok(_) => Ok(Self(host)),
                Err(_) => Err(format!("{text:?} is no IPv6 address in brackets")),
            };
        }
        if host.contains(':') {
            return Err(format!("{text:?} has a port: write the host alone"));
        }
        let name = match host.strip_prefix("*.") {
            Some(suffix) => suffix,
            None => &host,
        };
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(good) {
            return Err(format!(
                "{text:?} is no host: write web.example.com or *.example.com"
            ));
        }
        Ok(Self(host))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(
            deserializer,
            "a host: web.example.com or *.example.com",
            str::parse,
        )
    }
}

/// The name of an Envoy cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[!-~]+$", "maxLength" = ClusterKey::MAX_LEN))]
pub struct ClusterKey(String);

impl ClusterKey {
    /// Longest name taken, in bytes.
    pub const MAX_LEN: usize = 512;

    /// The key as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > Self::MAX_LEN {
            return Err(format!("is longer than {} bytes", Self::MAX_LEN));
        }
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "{text:?} is no cluster name: write printable ASCII without white space"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClusterKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "the name of a cluster", str::parse)
    }
}

/// All names of one target, without repeats, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchKeys {
    /// Host keys.
    pub hosts: Vec<HostKey>,
    /// Cluster keys; in a proxy they win over hosts.
    pub clusters: Vec<ClusterKey>,
    /// Those of `clusters` that stay for a while only, because the route that gave them leads elsewhere now.
    pub leaving: Vec<ClusterKey>,
}

impl MatchKeys {
    /// Sorts and removes repeats.
    pub fn new(mut hosts: Vec<HostKey>, mut clusters: Vec<ClusterKey>) -> Self {
        hosts.sort();
        hosts.dedup();
        clusters.sort();
        clusters.dedup();
        Self {
            hosts,
            clusters,
            leaving: Vec::new(),
        }
    }

    /// True if nothing can match.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.clusters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hosts_and_wildcards() {
        for text in [
            "web.example.com",
            "WEB.example.com",
            "*.example.com",
            "localhost",
            "[::1]",
        ] {
            assert!(text.parse::<HostKey>().is_ok(), "{text:?} must be a host");
        }
        assert_eq!(
            "WEB".parse::<HostKey>().unwrap().as_str(),
            "web",
            "must be lower case"
        );
        assert_eq!(
            "*.example.com.".parse::<HostKey>().unwrap().as_str(),
            "*.example.com",
            "the dot at its end is no part of it"
        );
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in [
            "",
            "web:80",
            "http://web",
            "a b",
            "*",
            "*.",
            "w*b",
            "web/",
            "[web]",
        ] {
            assert!(text.parse::<HostKey>().is_err(), "{text:?} must not be a host");
        }
    }

    #[test]
    fn takes_istios_cluster_names() {
        assert!(
            "outbound|80|*|web.shop.svc.cluster.local"
                .parse::<ClusterKey>()
                .is_ok(),
            "must be a name"
        );
        assert!(
            "a b".parse::<ClusterKey>().is_err() && "".parse::<ClusterKey>().is_err(),
            "must be refused"
        );
    }
}
