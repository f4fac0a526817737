/// Appends values; puts the commas in between. What is opened has to be closed.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// `{`, or `,{` if it is not the first.
    pub(crate) fn open(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'{');
        self
    }

    pub(crate) fn close(&mut self) -> &mut Self {
        self.out.push(b'}');
        self
    }

    /// `[`: each element puts its own comma before it.
    pub(crate) fn open_list(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        self
    }

    pub(crate) fn close_list(&mut self) -> &mut Self {
        self.out.push(b']');
        self
    }

    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.out.push(b':');
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(number.to_string().as_bytes());
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        for byte in text.bytes() {
            let short = match byte {
                b'"' | b'\\' => byte,
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x8 => b'b',
                0xc => b'f',
                0..0x20 => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.out.extend_from_slice(b"\\u00");
                    for digit in [byte >> 4, byte & 15] {
                        self.out.extend(HEX.get(usize::from(digit)));
                    }
                    continue;
                }
                _ => {
                    self.out.push(byte);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
        self.out.push(b'"');
        self
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}
