use std::fmt::{self, Write as _};

/// Reads one JSON text from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(super) text: &'a str,
    /// Of the next byte.
    pub(super) at: usize,
    depth: u8,
}

/// Deeper values are refused: the stack of a VM is small. The wire format has five levels.
const DEPTH: u8 = 32;

/// Why a text was refused: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    path: String,
    reason: String,
}

impl Error {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// The same, of a field of that name.
    pub(crate) fn within(mut self, name: &str) -> Self {
        if !self.path.is_empty() {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, name);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            f.write_str("`")?;
            plain(f, &self.path)?;
            f.write_str("`: ")?;
        }
        plain(f, &self.reason)
    }
}

/// On one line, whatever was found: it goes to Envoy's log.
fn plain(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|character| f.write_char(if character.is_control() { '?' } else { character }))
}

/// A field that has to be there is not.
pub(crate) fn missing(name: &str) -> Error {
    Error::new("it is missing").within(name)
}

impl<'a> Reader<'a> {
    /// # Errors
    /// The text is not UTF-8.
    pub(crate) fn new(text: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            text: std::str::from_utf8(text).map_err(|_| Error::new("it is not UTF-8"))?,
            at: 0,
            depth: 0,
        })
    }

    /// # Errors
    /// Something follows the value.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    /// Reads an object; `field` has to read the value of each field that it is told of.
    pub(crate) fn object(
        &mut self,
        field: &mut dyn FnMut(&mut Self, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'{', "an object")?;
        self.enter()?;
        if !self.take(b'}') {
            loop {
                let name = self.string()?;
                self.expect(b':', "`:`")?;
                field(self, &name).map_err(|error| error.within(&name))?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "`,` or `}`")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array; `item` has to read each of its values.
    pub(crate) fn array(
        &mut self,
        item: &mut dyn FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'[', "an array")?;
        self.enter()?;
        if !self.take(b']') {
            let mut n = 0_usize;
            loop {
                item(self).map_err(|error| error.within(&format!("[{n}]")))?;
                n += 1;
                if self.take(b']') {
                    break;
                }
                self.expect(b',', "`,` or `]`")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    pub(crate) fn strings(&mut self) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        self.array(&mut |reader| {
            out.push(reader.string()?);
            Ok(())
        })?;
        Ok(out)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Error> {
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.unexpected("true or false"))
        }
    }

    /// Reads `null`, if that is what comes.
    pub(crate) fn null(&mut self) -> bool {
        self.word("null")
    }

    /// True if a string comes next.
    pub(crate) fn is_string(&mut self) -> bool {
        self.peek() == Some(b'"')
    }

    /// Reads a value and drops it: fields that a newer version may have.
    pub(crate) fn skip(&mut self) -> Result<(), Error> {
        match self.peek() {
            Some(b'{') => self.object(&mut |reader, _| reader.skip()),
            Some(b'[') => self.array(&mut Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.bool().map(drop),
            Some(b'n') if self.null() => Ok(()),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// True if this byte came next, and has been read.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8, what: &str) -> Result<(), Error> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.peek();
        let is_next = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::new("it is nested too deeply"));
        }
        Ok(())
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => format!("found `{found}`"),
            None => "the text ends".to_owned(),
        };
        Error::new(format!("{wanted} is wanted, but {found} (at byte {})", self.at))
    }
}
