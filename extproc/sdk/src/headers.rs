//! The headers or trailers of one message, as Envoy shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::{HeaderMap, HeaderValue};

/// Headers (or trailers) in the order in which Envoy sent them. Cheap to clone.
///
/// Names are lower case. Values are bytes: HTTP allows 0x80 to 0xFF in them. They are read from `raw_value`, as Envoy fills it,
/// and from `value` where a client fills only that.
#[derive(Clone, Default)]
pub struct Headers {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    fields: Vec<HeaderValue>,
    end_of_stream: bool,
}

impl Headers {
    pub(crate) fn from_wire(map: Option<HeaderMap>, end_of_stream: bool) -> Self {
        Self::from_fields(map.map(|map| map.headers).unwrap_or_default(), end_of_stream)
    }

    pub(crate) fn from_fields(fields: Vec<HeaderValue>, end_of_stream: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                fields,
                end_of_stream,
            }),
        }
    }

    pub(crate) fn fields(&self) -> &[HeaderValue] {
        &self.inner.fields
    }

    /// Headers of these names and values, in this order; `end_of_stream` says whether neither body nor trailers follow.
    pub fn new<N, V>(fields: impl IntoIterator<Item = (N, V)>, end_of_stream: bool) -> Self
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let fields = fields
            .into_iter()
            .map(|(name, value)| HeaderValue {
                key: Bytes::from(name.as_ref().to_ascii_lowercase()),
                value: Bytes::new(),
                raw_value: Bytes::copy_from_slice(value.as_ref()),
            })
            .collect();
        Self::from_fields(fields, end_of_stream)
    }

    /// The first value under this name. Names are compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields_named(name).next().map(|field| field.as_slice())
    }

    /// All values under this name, in their order.
    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields_named(name).map(|field| field.as_slice())
    }

    /// The first value under this name as text; none where it is not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether there is a header of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.fields_named(name).next().is_some()
    }

    /// Every name and value, in their order; a name that stands several times comes several times.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // Names come from Envoy, which lets through tokens of ASCII only; another client's name that is no text shows as empty.
        self.inner.fields.iter().map(|field| {
            (
                std::str::from_utf8(&field.key).unwrap_or_default(),
                field.as_slice(),
            )
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.fields.is_empty()
    }

    /// Whether neither a body nor trailers follow. Always true of trailers.
    #[must_use]
    pub fn end_of_stream(&self) -> bool {
        self.inner.end_of_stream
    }

    /// Every header as text under its name, bytes that are not UTF-8 replaced; several values of one name are joined by `,`.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut map: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.iter() {
            let value = String::from_utf8_lossy(value);
            map.entry(name.to_owned())
                .and_modify(|all| {
                    all.push(',');
                    all.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        map
    }

    /// The first values of some headers under names of one's own: `pick([("x-api-key", "key")])` has `key`. A header that is
    /// absent has no entry.
    pub fn pick<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, &[u8]> {
        wanted
            .into_iter()
            .filter_map(|(name, key)| Some((key, self.get(name)?)))
            .collect()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner
            .fields
            .iter()
            .map(|field| field.key.len() + field.as_slice().len())
            .sum()
    }

    /// A copy, in memory of its own, of those headers that `keep` is true of.
    pub(crate) fn copied(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self::new(self.iter().filter(|(name, _)| keep(name)), self.end_of_stream())
    }

    fn fields_named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a HeaderValue> + use<'a, 'n> {
        self.inner
            .fields
            .iter()
            .filter(move |field| field.key.eq_ignore_ascii_case(name.as_bytes()))
    }
}

impl HeaderValue {
    /// The value: `raw_value`, or `value` where that alone is filled.
    fn as_slice(&self) -> &[u8] {
        if self.raw_value.is_empty() {
            &self.value
        } else {
            &self.raw_value
        }
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.end_of_stream() == other.end_of_stream() && self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

/// Names only: values may be secrets, and what is logged is often logged whole.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers")
            .field("names", &self.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("end_of_stream", &self.end_of_stream())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bytes_and_come_from_where_they_were_put() {
        let wire = HeaderMap {
            headers: vec![
                HeaderValue {
                    key: Bytes::from_static(b"a"),
                    value: Bytes::new(),
                    raw_value: Bytes::from_static(b"\xff1"),
                },
                HeaderValue {
                    key: Bytes::from_static(b"b"),
                    value: Bytes::from_static(b"2"),
                    raw_value: Bytes::new(),
                },
                HeaderValue {
                    key: Bytes::from_static(b"A"),
                    value: Bytes::new(),
                    raw_value: Bytes::from_static(b"3"),
                },
            ],
        };
        let headers = Headers::from_wire(Some(wire), true);
        assert_eq!(headers.get("A"), Some(&b"\xff1"[..]));
        assert_eq!(headers.text("a"), None);
        assert_eq!(headers.text("b"), Some("2"));
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), [&b"\xff1"[..], b"3"]);
        assert_eq!(headers.get("c"), None);
        assert!(headers.end_of_stream());
        assert_eq!(headers.size(), 1 + 2 + 1 + 1 + 1 + 1);
    }

    #[test]
    fn a_map_joins_what_stands_under_one_name() {
        let headers = Headers::new([("Via", "a"), ("x", "1"), ("via", "b")], false);
        assert_eq!(
            headers.to_map(),
            BTreeMap::from([("via".into(), "a,b".into()), ("x".into(), "1".into())])
        );
        assert_eq!(
            headers.pick([("VIA", "hop"), ("none", "n")]),
            BTreeMap::from([("hop", &b"a"[..])])
        );
    }

    #[test]
    fn values_do_not_stand_in_logs() {
        let shown = format!("{:?}", Headers::new([("authorization", "s3cret")], false));
        assert!(
            shown.contains("authorization") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
