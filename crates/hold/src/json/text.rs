use crate::json::reader::{Error, Reader};

impl Reader<'_> {
    pub(crate) fn string(&mut self) -> Result<String, Error> {
        self.expect(b'"', "a string")?;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.byte(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            // Stops at ASCII only, so never within a character.
            out.push_str(self.text.get(from..self.at).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                _ => return Err(self.unexpected("the end of a string")),
            }
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self) -> Result<char, Error> {
        let error = self.unexpected("a known escape");
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'u') => {
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.expect_here(b"\\u")?;
                    let second = self.hex()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(error);
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or(error)?
            }
            _ => return Err(error),
        })
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.unexpected("a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn expect_here(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for byte in bytes {
            if self.byte() != Some(*byte) {
                return Err(self.unexpected("the second half of a surrogate pair"));
            }
            self.at += 1;
        }
        Ok(())
    }
}
