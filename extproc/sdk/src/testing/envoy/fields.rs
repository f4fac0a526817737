//! Headers that change: what Envoy does with the mutations of an answer.

use bytes::Bytes;
use http::{HeaderName, HeaderValue as HttpValue};

use crate::wire::{HeaderMap, HeaderMutation, HeaderValue, HeaderValueOption};

/// Headers or trailers, in their order. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Bytes)>);

/// A mutation that Envoy answers with 500, as a whole: nothing of it was applied that counts.
#[derive(Debug)]
pub(super) struct Invalid(pub(super) String);

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn append(&mut self, name: &str, value: &[u8]) {
        self.0
            .push((name.to_ascii_lowercase(), Bytes::copy_from_slice(value)));
    }

    /// Overwrites, in the place of the first value, or adds.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        let Some(first) = self.0.iter().position(|(known, _)| known == name) else {
            self.0.push((name.to_owned(), value));
            return;
        };
        let mut index = 0;
        self.0.retain(|(known, _)| {
            index += 1;
            known != name || index - 1 == first
        });
        if let Some(field) = self.0.get_mut(first) {
            field.1 = value;
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    pub(super) fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }

    /// `content-length` as a number.
    pub(super) fn length(&self) -> Option<usize> {
        self.text("content-length").and_then(|text| text.parse().ok())
    }

    /// As a message shows them: values in `raw_value` only (seen with 1.40: `value` is always empty).
    pub(super) fn to_wire(&self) -> HeaderMap {
        let headers = self
            .0
            .iter()
            .map(|(name, value)| HeaderValue {
                key: Bytes::copy_from_slice(name.as_bytes()),
                value: Bytes::new(),
                raw_value: value.clone(),
            })
            .collect();
        HeaderMap { headers }
    }

    /// Applies a mutation; names that the default rules refuse are put into `rejected`.
    ///
    /// Envoy removes first and sets then (`MutationUtils::applyHeaderMutations`).
    pub(super) fn apply(
        &mut self,
        mutation: &HeaderMutation,
        rejected: &mut Vec<String>,
    ) -> Result<(), Invalid> {
        for name in &mutation.remove_headers {
            let name = valid_name(name)?;
            if is_removable(&name) {
                self.remove(&name);
            } else {
                rejected.push(name);
            }
        }
        for option in &mutation.set_headers {
            self.set_one(option, rejected)?;
        }
        Ok(())
    }

    fn set_one(&mut self, option: &HeaderValueOption, rejected: &mut Vec<String>) -> Result<(), Invalid> {
        let Some(header) = &option.header else {
            return Ok(());
        };
        let name = valid_name(&header.key)?;
        if !header.value.is_empty() && !header.raw_value.is_empty() {
            return Err(Invalid(format!("`{name}` has both `value` and `raw_value`")));
        }
        // Seen with 1.40: a `value` without `raw_value` sets an empty header.
        let value = &header.raw_value;
        if HttpValue::from_bytes(value).is_err() {
            return Err(Invalid(format!(
                "the value of `{name}` has a byte that HTTP does not allow"
            )));
        }
        if !is_settable(&name) {
            rejected.push(name);
            return Ok(());
        }
        // Seen with 1.40: `append_action` is ignored, only the deprecated `append` makes it add a value; all else overwrites.
        if option.append == Some(true) {
            self.append(&name, value);
        } else {
            self.set(&name, value);
        }
        Ok(())
    }
}

fn valid_name(name: &[u8]) -> Result<String, Invalid> {
    let text = String::from_utf8_lossy(name).to_ascii_lowercase();
    let bare = text.strip_prefix(':').unwrap_or(&text);
    match HeaderName::from_bytes(bare.as_bytes()) {
        Ok(_) => Ok(text),
        Err(_) => Err(Invalid(format!(
            "`{}` is not the name of a header",
            text.escape_debug()
        ))),
    }
}

/// The filter's default `mutation_rules`: headers that routes are chosen by (`:path` is not one of them) and Envoy's own are
/// left alone (`mutation_rules.cc`; seen with 1.40 for `host`, `x-envoy-*` and `:path`).
fn is_settable(name: &str) -> bool {
    !matches!(name, "host" | ":authority" | ":method" | ":scheme") && !name.starts_with("x-envoy")
}

/// Beside those, no pseudo-header can be removed (seen with 1.40 for `:method`).
fn is_removable(name: &str) -> bool {
    is_settable(name) && !name.starts_with(':')
}
