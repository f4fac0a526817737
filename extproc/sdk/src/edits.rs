//! Changes of headers: checked when they are made, resolved against the headers shown, and written as Envoy reads them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue as HttpValue};

use crate::headers::Headers;
use crate::stop::Stop;
use crate::wire::{HeaderMutation, HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};

/// The pseudo-headers that may be set.
const PSEUDO: [&str; 5] = [":authority", ":method", ":path", ":scheme", ":status"];

/// Headers of one connection. Setting one of them truncates or breaks streams over HTTP/2 (inference-extension#2993).
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[derive(Clone, Debug)]
enum Edit {
    Set(Bytes, Bytes),
    Append(Bytes, Bytes),
    SetIfAbsent(Bytes, Bytes),
    SetIfPresent(Bytes, Bytes),
    Remove(Bytes),
}

/// A list of changes in the order in which they were asked for. A later one on a name wins over earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    edits: Vec<Edit>,
    /// What was wrong with the first change that Envoy would refuse.
    refused: Option<Box<str>>,
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.refused.is_none()
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.push(name, value, Edit::Set);
    }

    pub(crate) fn append(&mut self, name: &str, value: &[u8]) {
        self.push(name, value, Edit::Append);
    }

    pub(crate) fn set_if_absent(&mut self, name: &str, value: &[u8]) {
        self.push(name, value, Edit::SetIfAbsent);
    }

    pub(crate) fn set_if_present(&mut self, name: &str, value: &[u8]) {
        self.push(name, value, Edit::SetIfPresent);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        match checked_name(name) {
            Ok(name) => self.edits.push(Edit::Remove(name)),
            Err(reason) => self.refuse(reason),
        }
    }

    /// Puts `later` behind these.
    pub(crate) fn extend(&mut self, later: Self) {
        self.edits.extend(later.edits);
        if self.refused.is_none() {
            self.refused = later.refused;
        }
    }

    /// Whether a change of this name was asked for.
    pub(crate) fn touches(&self, name: &str) -> bool {
        self.edits.iter().any(|edit| *edit.name() == *name.as_bytes())
    }

    fn push(&mut self, name: &str, value: &[u8], edit: fn(Bytes, Bytes) -> Edit) {
        match checked(name, value) {
            Ok((name, value)) => self.edits.push(edit(name, value)),
            Err(reason) => self.refuse(reason),
        }
    }

    fn refuse(&mut self, reason: String) {
        self.refused.get_or_insert(reason.into());
    }

    /// What Envoy is told, given the headers that it showed. None where nothing changes.
    ///
    /// # Errors
    /// With the name, where a name or value is one that Envoy refuses (it answers 500 for the whole reply), or where the changes
    /// are larger than `limit` bytes.
    pub(crate) fn resolve(self, shown: &Headers, limit: usize) -> Result<Option<HeaderMutation>, Stop> {
        if self.edits.is_empty() && self.refused.is_none() {
            return Ok(None);
        }
        let resolved = self.decided(shown)?;
        let mut mutation = HeaderMutation::default();
        let mut size = 0;
        for edit in resolved {
            match edit {
                Edit::Remove(name) => {
                    size += name.len();
                    mutation.remove_headers.push(name);
                }
                Edit::Append(name, value) => {
                    size += name.len() + value.len();
                    mutation.set_headers.push(option(name, value, true));
                }
                Edit::Set(name, value) | Edit::SetIfAbsent(name, value) | Edit::SetIfPresent(name, value) => {
                    size += name.len() + value.len();
                    mutation.set_headers.push(option(name, value, false));
                }
            }
        }
        if size > limit {
            return Err(Stop::limit(
                "header_bytes",
                format!("the changes of headers take {size} bytes, the limit is {limit}"),
            ));
        }
        Ok(Some(mutation))
    }

    /// The headers as Envoy makes them by these changes: what the next processor of a chain is shown.
    ///
    /// # Errors
    /// With the name, where a name or value is one that Envoy refuses.
    pub(crate) fn apply(&self, shown: &Headers) -> Result<Headers, Stop> {
        if self.edits.is_empty() && self.refused.is_none() {
            return Ok(shown.clone());
        }
        let mut fields = shown.fields().to_vec();
        let field = |key, raw_value| HeaderValue {
            key,
            value: Bytes::new(),
            raw_value,
        };
        for edit in self.clone().decided(shown)? {
            match edit {
                Edit::Remove(name) => fields.retain(|field| field.key != name),
                Edit::Append(name, value) => fields.push(field(name, value)),
                Edit::Set(name, value) | Edit::SetIfAbsent(name, value) | Edit::SetIfPresent(name, value) => {
                    let place = fields.iter().position(|field| field.key == name);
                    fields.retain(|field| field.key != name);
                    let place = place.unwrap_or(fields.len()).min(fields.len());
                    fields.insert(place, field(name, value));
                }
            }
        }
        Ok(Headers::from_fields(fields, shown.end_of_stream()))
    }

    /// The changes that are left when later ones have won over earlier ones, and conditions are decided.
    fn decided(self, shown: &Headers) -> Result<Vec<Edit>, Stop> {
        if let Some(reason) = self.refused {
            return Err(Stop::misuse(reason));
        }
        let mut resolved: Vec<Edit> = Vec::with_capacity(self.edits.len());
        for edit in self.edits {
            match edit {
                Edit::SetIfAbsent(name, value) => {
                    if !is_present(&resolved, shown, &name) {
                        replace(&mut resolved, Edit::Set(name, value));
                    }
                }
                Edit::SetIfPresent(name, value) => {
                    if is_present(&resolved, shown, &name) {
                        replace(&mut resolved, Edit::Set(name, value));
                    }
                }
                Edit::Append(..) => resolved.push(edit),
                Edit::Set(..) | Edit::Remove(_) => replace(&mut resolved, edit),
            }
        }
        Ok(resolved)
    }
}

impl Edit {
    fn name(&self) -> &Bytes {
        match self {
            Self::Set(name, _)
            | Self::Append(name, _)
            | Self::SetIfAbsent(name, _)
            | Self::SetIfPresent(name, _)
            | Self::Remove(name) => name,
        }
    }
}

/// Puts `edit` in the place of all earlier ones of its name.
fn replace(resolved: &mut Vec<Edit>, edit: Edit) {
    resolved.retain(|earlier| earlier.name() != edit.name());
    resolved.push(edit);
}

fn is_present(resolved: &[Edit], shown: &Headers, name: &Bytes) -> bool {
    match resolved.iter().rev().find(|edit| edit.name() == name) {
        Some(Edit::Remove(_)) => false,
        Some(_) => true,
        None => std::str::from_utf8(name).is_ok_and(|name| shown.contains(name)),
    }
}

/// "Set" carries an append action that gRPC clients and agentgateway honour; Envoy up to 1.40 ignores it and overwrites. "Append"
/// is the deprecated flag, the only one that Envoy honours. Never both `value` and `raw_value`.
fn option(key: Bytes, raw_value: Bytes, append: bool) -> HeaderValueOption {
    let action = if append {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    HeaderValueOption {
        keep_empty_value: raw_value.is_empty(),
        header: Some(HeaderValue {
            key,
            value: Bytes::new(),
            raw_value,
        }),
        append: append.then_some(true),
        append_action: action.into(),
    }
}

fn checked(name: &str, value: &[u8]) -> Result<(Bytes, Bytes), String> {
    let name = checked_name(name)?;
    if HOP_BY_HOP.iter().any(|hop| name == *hop) {
        let name = String::from_utf8_lossy(&name);
        return Err(format!(
            "`{name}` belongs to one connection and cannot be set: streams over HTTP/2 would break"
        ));
    }
    match HttpValue::from_bytes(value) {
        Ok(_) => Ok((name, Bytes::copy_from_slice(value))),
        Err(_) => Err(format!(
            "the value of `{}` has a byte that HTTP does not allow",
            String::from_utf8_lossy(&name)
        )),
    }
}

fn checked_name(name: &str) -> Result<Bytes, String> {
    if PSEUDO.contains(&name) {
        return Ok(Bytes::copy_from_slice(name.as_bytes()));
    }
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(Bytes::copy_from_slice(name.as_str().as_bytes())),
        Err(_) => Err(format!("`{}` is not the name of a header", name.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(edits: Edits, shown: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>), String> {
        match edits.resolve(&Headers::new(shown.iter().copied(), false), 1024) {
            Ok(None) => Ok((vec![], vec![])),
            Ok(Some(mutation)) => Ok((
                mutation
                    .set_headers
                    .iter()
                    .map(|set| {
                        let header = set.header.as_ref().unwrap();
                        assert!(header.value.is_empty());
                        let sign = if set.append == Some(true) { "+" } else { "=" };
                        format!(
                            "{}{sign}{}",
                            String::from_utf8_lossy(&header.key),
                            String::from_utf8_lossy(&header.raw_value)
                        )
                    })
                    .collect(),
                mutation
                    .remove_headers
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect(),
            )),
            Err(Stop::Fail(failure)) => Err(failure.to_string()),
            Err(Stop::Respond(_)) => panic!("no answer to the client"),
        }
    }

    #[test]
    fn a_later_change_of_a_name_wins() {
        let mut edits = Edits::default();
        edits.set("X-A", b"1");
        edits.append("x-a", b"2");
        edits.remove("x-b");
        edits.set("x-b", b"3");
        edits.set("x-c", b"4");
        edits.remove("x-c");
        edits.remove("x-d");
        edits.append("x-d", b"5");
        let (set, removed) = resolved(edits, &[]).unwrap();
        assert_eq!(set, ["x-a=1", "x-a+2", "x-b=3", "x-d+5"]);
        assert_eq!(removed, ["x-c", "x-d"]);
    }

    #[test]
    fn conditions_are_decided_against_what_was_shown_and_what_was_changed() {
        let mut edits = Edits::default();
        edits.set_if_absent("there", b"1");
        edits.set_if_absent("away", b"2");
        edits.set_if_present("there", b"3");
        edits.set_if_present("missing", b"4");
        edits.set("new", b"5");
        edits.set_if_absent("new", b"6");
        edits.remove("gone");
        edits.set_if_present("gone", b"7");
        let (set, removed) = resolved(edits, &[("There", "0"), ("gone", "0")]).unwrap();
        assert_eq!(set, ["away=2", "there=3", "new=5"]);
        assert_eq!(removed, ["gone"]);
    }

    #[test]
    fn what_envoy_would_refuse_is_refused_with_its_name() {
        for (name, value, word) in [
            ("bad name", &b"1"[..], "bad name"),
            ("", b"1", "name of a header"),
            ("x-a", b"line\nbreak", "x-a"),
            ("x-a", b"nul\0", "x-a"),
            ("Transfer-Encoding", b"chunked", "transfer-encoding"),
            ("connection", b"close", "connection"),
            (":weird", b"1", ":weird"),
        ] {
            let mut edits = Edits::default();
            edits.set(name, value);
            let refused = resolved(edits, &[]).unwrap_err();
            assert!(refused.contains(word), "{name:?}: {refused}");
        }
        let mut fine = Edits::default();
        fine.set(":path", b"/b");
        fine.set("x-raw", b"\x80\xff");
        fine.remove("transfer-encoding");
        assert!(resolved(fine, &[]).is_ok());
    }

    #[test]
    fn applied_changes_are_what_envoy_makes_of_them() {
        let shown = Headers::new([("a", "1"), ("b", "1"), ("A", "2"), ("c", "1")], false);
        let mut edits = Edits::default();
        edits.set("a", b"3");
        edits.remove("b");
        edits.append("c", b"2");
        edits.set_if_absent("c", b"never");
        edits.set_if_absent("d", b"new");
        let applied = edits.apply(&shown).unwrap();
        let fields: Vec<String> = applied
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(fields, ["a=3", "c=1", "c=2", "d=new"]);
        edits.set("bad name", b"1");
        assert!(edits.apply(&shown).is_err());
    }

    #[test]
    fn changes_are_bounded() {
        let mut edits = Edits::default();
        edits.set("x-large", &[b'a'; 1100]);
        assert!(resolved(edits, &[]).unwrap_err().contains("1107"));
    }
}
