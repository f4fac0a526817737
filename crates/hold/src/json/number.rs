use crate::json::reader::{Error, Reader};

impl Reader<'_> {
    /// A whole number that is not negative. `4096.0` is one as well: Envoy's `Struct` has only doubles.
    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.peek();
        let wanted = self.unexpected("a whole number");
        let from = self.at;
        self.skip_number()?;
        let text = self.text.get(from..self.at).unwrap_or_default();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|digit| digit == b'0') {
            return Err(wanted);
        }
        whole.parse().map_err(|_| wanted)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.u64()?).map_err(|_| Error::new("the number is too large"))
    }

    pub(super) fn skip_number(&mut self) -> Result<(), Error> {
        self.peek();
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.unexpected("a number"));
        }
        Ok(())
    }
}
