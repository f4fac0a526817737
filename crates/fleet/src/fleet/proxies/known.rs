//! The proxies that a control plane knows, as they outlive it. The next one has to wait for them: an Envoy that it never
//! hears of (its token was changed, its network is cut) goes on passing requests to what was ready.

use std::collections::BTreeSet;

use protocol::Incarnation;
use serde::{Deserialize, Serialize};

use super::ProxyKey;

/// Of what is written. Another is not understood.
const FORMAT: u32 = 1;

/// Longest id and incarnation that are taken, in bytes.
const MAX_NAME: usize = 256;

/// The proxies that a control plane knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// By name.
    pub proxies: BTreeSet<ProxyKey>,
    /// How many more there are, whose names are not known.
    pub others: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// Id and incarnation.
    proxies: Vec<(String, String)>,
    others: u64,
}

impl Known {
    /// What has to be assumed where nothing can be read: there may be a proxy.
    pub fn unreadable() -> Self {
        Self {
            proxies: BTreeSet::new(),
            others: 1,
        }
    }

    /// One line of JSON of at most `max_bytes`, or a little over a hundred if that is less. A proxy that does not fit is counted.
    pub fn encode(&self, max_bytes: usize) -> String {
        let mut record = Record {
            format: FORMAT,
            proxies: Vec::new(),
            others: self.others,
        };
        // Brackets and names of fields, and the longest count.
        let mut room = max_bytes.saturating_sub(64);
        for key in &self.proxies {
            let pair = (key.id.clone(), key.incarnation.to_string());
            // Texts: there is nothing in them that could not be written.
            let size = serde_json::to_string(&pair).map_or(usize::MAX, |text| text.len() + 1);
            match room.checked_sub(size) {
                Some(left) => {
                    room = left;
                    record.proxies.push(pair);
                }
                None => record.others = record.others.saturating_add(1),
            }
        }
        serde_json::to_string(&record).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// One sentence for what cannot be read, or is of another format.
    pub fn decode(text: &str) -> Result<Self, String> {
        let record: Record = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if record.format != FORMAT {
            return Err(format!("its format is {}, not {FORMAT}", record.format));
        }
        let is_name = |name: &String| !name.is_empty() && name.len() <= MAX_NAME;
        if !record
            .proxies
            .iter()
            .all(|(id, life)| is_name(id) && is_name(life))
        {
            return Err(format!("a name in it is empty or longer than {MAX_NAME} bytes"));
        }
        let key = |(id, life): (String, String)| ProxyKey {
            id,
            incarnation: Incarnation::new(life),
        };
        Ok(Self {
            proxies: record.proxies.into_iter().map(key).collect(),
            others: record.others,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(names in prop::collection::btree_set((".{1,40}", "[0-9a-f]{1,16}"), 0..20), others: u64) {
            let known = mk_known(names, others);
            prop_assert_eq!(Known::decode(&known.encode(1 << 20)), Ok(known));
        }

        #[test]
        fn it_is_bounded_and_no_proxy_is_lost(
            names in prop::collection::btree_set((".{1,40}", "[0-9a-f]{1,16}"), 0..40),
            max in 128usize..2_000,
        ) {
            let known = mk_known(names, 3);
            let text = known.encode(max);
            prop_assert!(text.len() <= max, "must be bounded: {} of {}", text.len(), max);
            let read = Known::decode(&text).unwrap();
            prop_assert_eq!(read.proxies.len() as u64 + read.others, known.proxies.len() as u64 + 3);
        }

        #[test]
        fn nothing_that_is_read_is_trusted(text in ".{0,200}") {
            let _ = Known::decode(&text);
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, why) in [
            ("", "EOF"),
            ("{\"format\":2,\"proxies\":[],\"others\":0}", "format"),
            ("{\"format\":1,\"proxies\":[[\"\",\"x\"]],\"others\":0}", "empty"),
            ("{\"format\":1,\"proxies\":[],\"others\":-1}", "invalid value"),
        ] {
            let refusal = Known::decode(text).unwrap_err();
            assert!(
                refusal.contains(why),
                "{text:?} must be refused for {why:?}: {refusal}"
            );
        }
    }

    fn mk_known(names: BTreeSet<(String, String)>, others: u64) -> Known {
        let key = |(id, life): (String, String)| ProxyKey {
            id,
            incarnation: Incarnation::new(life),
        };
        Known {
            proxies: names.into_iter().map(key).collect(),
            others,
        }
    }
}
