//! Masks values in a JSON document: each value that a path leads to is replaced as a whole, and all else stays as it was,
//! byte for byte: spaces, order, numbers of any size, members that are there twice.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::path::{Path, Step};

/// The document is not JSON, so nothing in it can be found.
#[derive(Debug, Error)]
#[error("the document is not JSON: {0}")]
pub struct NotJson(#[source] serde_json::Error);

/// Which values are replaced, and with what.
#[derive(Clone, Debug)]
pub struct Masker {
    paths: Vec<Path>,
    /// JSON.
    mask: Box<str>,
}

impl Masker {
    /// Replaces with the string `"****"` what any of `paths` leads to.
    pub fn new(paths: Vec<Path>) -> Self {
        Self {
            paths,
            mask: "\"****\"".into(),
        }
    }

    /// Replaces with `mask` instead, which may be any JSON: `null`, `0`, `"hidden"`.
    ///
    /// # Errors
    /// [`NotJson`] if it is none.
    pub fn with_mask(self, mask: &str) -> Result<Self, NotJson> {
        let mask: Box<RawValue> = serde_json::from_str(mask).map_err(NotJson)?;
        Ok(Self {
            mask: mask.get().into(),
            ..self
        })
    }

    /// The document with its values masked, or `None` where no path leads to anything.
    ///
    /// Takes time in proportion to the document, once more for each step of the longest path; memory for the answer
    /// only. However deep the document is, the stack grows by the steps of the longest path at most.
    ///
    /// # Errors
    /// [`NotJson`] where `document` is not one whole JSON document in UTF-8.
    pub fn mask(&self, document: &[u8]) -> Result<Option<Bytes>, NotJson> {
        let whole: &RawValue = serde_json::from_slice(document).map_err(NotJson)?;
        let paths: Vec<_> = self.paths.iter().map(|path| &path.0[..]).collect();
        let mut found = Found {
            start: whole.get().as_ptr().addr(),
            values: Vec::new(),
        };
        found.walk(whole, &paths).map_err(NotJson)?;
        if found.values.is_empty() {
            return Ok(None);
        }
        // Spaces around the document are no part of the value.
        let before = whole.get().as_ptr().addr() - document.as_ptr().addr();
        let mut masked = Vec::with_capacity(document.len());
        let mut kept = 0;
        for (at, length) in found.values {
            let at = before + at;
            masked.extend_from_slice(document.get(kept..at).unwrap_or_default());
            masked.extend_from_slice(self.mask.as_bytes());
            kept = at + length;
        }
        masked.extend_from_slice(document.get(kept..).unwrap_or_default());
        Ok(Some(masked.into()))
    }
}

/// The values found so far, in the order of the document, none within another.
struct Found {
    /// The address of the document's first byte: a [`RawValue`] is a part of the document.
    start: usize,
    /// First byte and length of each.
    values: Vec<(usize, usize)>,
}

impl Found {
    /// Goes down `paths` from `value`.
    fn walk(&mut self, value: &RawValue, paths: &[&[Step]]) -> serde_json::Result<()> {
        let text = value.get();
        if paths.iter().any(|path| path.is_empty()) {
            self.values.push((text.as_ptr().addr() - self.start, text.len()));
            return Ok(());
        }
        let inside = Inside { found: self, paths };
        match text.as_bytes().first() {
            Some(b'{') => serde_json::Deserializer::from_str(text).deserialize_map(inside),
            Some(b'[') => serde_json::Deserializer::from_str(text).deserialize_seq(inside),
            Some(_) | None => Ok(()),
        }
    }

    fn walk_where<E: serde::de::Error>(
        &mut self,
        value: &RawValue,
        paths: &[&[Step]],
        is_on_the_way: impl Fn(&Step) -> bool,
    ) -> Result<(), E> {
        let further: Vec<_> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(step, _)| is_on_the_way(step))
            .map(|(_, rest)| rest)
            .collect();
        if further.is_empty() {
            return Ok(());
        }
        self.walk(value, &further).map_err(E::custom)
    }
}

/// Reads the members or elements of one value.
struct Inside<'a, 'p> {
    found: &'a mut Found,
    paths: &'a [&'p [Step]],
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Inside<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            let matches = |step: &Step| match step {
                Step::Member(wanted) => *wanted == name,
                Step::Element(_) => false,
                Step::Every => true,
            };
            self.found.walk_where(value, self.paths, matches)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(value) = elements.next_element::<&'de RawValue>()? {
            let matches = |step: &Step| match step {
                Step::Member(_) => false,
                Step::Element(wanted) => *wanted == number,
                Step::Every => true,
            };
            self.found.walk_where(value, self.paths, matches)?;
            number += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn masks_what_the_paths_lead_to_and_nothing_else() {
        check(
            &["ssn"],
            r#" { "ssn" : "123-45-6789" ,"name":"A"}  "#,
            r#" { "ssn" : "****" ,"name":"A"}  "#,
        );
        check(
            &["a.b[*].c"],
            r#"{"a":{"b":[{"c":1,"d":2},{"c":[3]},4]},"c":5}"#,
            r#"{"a":{"b":[{"c":"****","d":2},{"c":"****"},4]},"c":5}"#,
        );
        check(
            &["$.users[1]"],
            r#"{"users":[1,{"a":[]},3]}"#,
            r#"{"users":[1,"****",3]}"#,
        );
        check(
            &["*.b"],
            r#"{"a":{"b":1},"c":[2],"d":{"b":3}}"#,
            r#"{"a":{"b":"****"},"c":[2],"d":{"b":"****"}}"#,
        );
        check(
            &["a", "a.b", "c"],
            r#"{"c":1,"a":{"b":2}}"#,
            r#"{"c":"****","a":"****"}"#,
        );
        check(&["$"], " [1, 2]\n", " \"****\"\n");
    }

    #[test]
    fn keeps_numbers_and_escapes_as_they_were() {
        check(
            &["x"],
            r#"{"x":1,"n":123456789012345678901234567890.10e5,"s":"\u00e9\/"}"#,
            r#"{"x":"****","n":123456789012345678901234567890.10e5,"s":"\u00e9\/"}"#,
        );
    }

    #[test]
    fn a_name_cannot_be_hidden_by_escapes_or_by_being_there_twice() {
        check(
            &["ssn"],
            r#"{"s\u0073n":"1","ssn":"2","ssn":"3"}"#,
            r#"{"s\u0073n":"****","ssn":"****","ssn":"****"}"#,
        );
    }

    #[test]
    fn says_where_nothing_was_found() {
        for document in ["{}", "[]", "null", "7", "\"ssn\"", r#"{"other":{"ssn":1}}"#] {
            let masked = masker(&["ssn", "ssn.x"]).mask(document.as_bytes()).unwrap();
            assert_eq!(masked, None, "{document}");
        }
    }

    #[test]
    fn the_mask_may_be_any_json() {
        let masker = masker(&["x"]);
        let mask = |mask| {
            masker
                .clone()
                .with_mask(mask)
                .unwrap()
                .mask(br#"{"x":1}"#)
                .unwrap()
                .unwrap()
        };
        assert_eq!(mask("null"), r#"{"x":null}"#);
        assert_eq!(mask(" {\"hidden\": true} "), r#"{"x":{"hidden": true}}"#);
        assert!(masker.clone().with_mask("****").is_err(), "must be JSON");
    }

    #[test]
    fn what_is_not_json_is_refused_as_a_whole() {
        for document in [
            "",
            " ",
            "{",
            r#"{"ssn":1"#,
            r#"{"ssn":1}}"#,
            r#"{"ssn":1} x"#,
            r#"{"ssn":01}"#,
            "{'ssn':1}",
            "ssn=1",
            r#"{"a":[1,],"ssn":1}"#,
        ] {
            assert!(masker(&["ssn"]).mask(document.as_bytes()).is_err(), "{document}");
        }
        assert!(
            masker(&["ssn"]).mask(b"{\"ssn\":\"\xff\"}").is_err(),
            "must be UTF-8"
        );
    }

    #[test]
    fn a_document_of_any_depth_is_read() {
        let deep = 200_000;
        let document = format!("{{\"ssn\":{}{}}}", "[".repeat(deep), "]".repeat(deep));
        let masked = masker(&["ssn"]).mask(document.as_bytes()).unwrap();
        assert_eq!(masked.unwrap(), r#"{"ssn":"****"}"#);
        let masked = masker(&["ssn[*][*].x"]).mask(document.as_bytes()).unwrap();
        assert_eq!(masked, None);
    }

    proptest! {
        #[test]
        fn agrees_with_masking_the_parsed_document(document in mk_json(), paths in vec(mk_path(), 0..4)) {
            let texts: Vec<_> = paths.iter().map(String::as_str).collect();
            let text = serde_json::to_string_pretty(&document).unwrap();
            let mut expected = document.clone();
            for path in &texts {
                naive(&mut expected, &path.parse::<Path>().unwrap().0);
            }
            match masker(&texts).mask(text.as_bytes()).unwrap() {
                Some(masked) => prop_assert_eq!(serde_json::from_slice::<Value>(&masked).unwrap(), expected),
                None => prop_assert_eq!(document, expected),
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..60), text in r#"[\[\]{}",:a0 \\]{0,40}"#) {
            let _ = masker(&["a", "[*]", "a[0].a"]).mask(&bytes);
            let _ = masker(&["a", "[*]", "a[0].a"]).mask(text.as_bytes());
        }
    }

    fn naive(value: &mut Value, steps: &[Step]) {
        let Some((step, rest)) = steps.split_first() else {
            *value = json!("****");
            return;
        };
        match (value, step) {
            (Value::Object(members), Step::Member(name)) => {
                members
                    .get_mut(name)
                    .into_iter()
                    .for_each(|member| naive(member, rest));
            }
            (Value::Object(members), Step::Every) => {
                members.values_mut().for_each(|member| naive(member, rest))
            }
            (Value::Array(elements), Step::Element(number)) => {
                elements
                    .get_mut(*number)
                    .into_iter()
                    .for_each(|element| naive(element, rest));
            }
            (Value::Array(elements), Step::Every) => {
                elements.iter_mut().for_each(|element| naive(element, rest))
            }
            _ => {}
        }
    }

    fn mk_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            ".{0,4}".prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec(("[abc]", inner), 0..4).prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
    }

    fn mk_path() -> impl Strategy<Value = String> {
        vec(prop_oneof!["[abc]", Just("*".to_owned()), "\\[[012*]\\]"], 1..5).prop_map(|steps| {
            steps.iter().fold("$".to_owned(), |path, step| {
                let dot = if step.starts_with('[') { "" } else { "." };
                path + dot + step
            })
        })
    }

    fn masker(paths: &[&str]) -> Masker {
        Masker::new(paths.iter().map(|path| path.parse().unwrap()).collect())
    }

    fn check(paths: &[&str], document: &str, expected: &str) {
        let masked = masker(paths).mask(document.as_bytes()).unwrap();
        assert_eq!(
            masked.as_deref(),
            Some(expected.as_bytes()),
            "{paths:?} in {document}"
        );
    }
}
