//! SPDX license expressions: `OR`, `AND`, `WITH`, parentheses, and the old `/` for `OR`.

/// True if the licenses for which `allowed` says yes satisfy `expression`. The error says what is no expression in it.
///
/// `WITH` binds a license and its exception into one name, such as `Apache-2.0 WITH LLVM-exception`.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut parser = Parser {
        words: spaced.split_whitespace().peekable(),
        allowed,
    };
    let result = parser.any()?;
    match parser.words.next() {
        None => Ok(result),
        Some(word) => Err(format!("{word:?} is too much")),
    }
}

struct Parser<'a> {
    words: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<bool, String> {
        let mut result = self.all()?;
        while self.words.next_if_eq(&"OR").is_some() {
            result |= self.all()?;
        }
        Ok(result)
    }

    /// `AND` binds more tightly than `OR`.
    fn all(&mut self) -> Result<bool, String> {
        let mut result = self.one()?;
        while self.words.next_if_eq(&"AND").is_some() {
            result &= self.one()?;
        }
        Ok(result)
    }

    fn one(&mut self) -> Result<bool, String> {
        match self.words.next() {
            Some("(") => {
                let result = self.any()?;
                self.words
                    .next_if_eq(&")")
                    .map(|_| result)
                    .ok_or_else(|| "a `)` is missing".to_owned())
            }
            Some(word @ (")" | "AND" | "OR" | "WITH")) => {
                Err(format!("{word:?} stands where a license should"))
            }
            Some(license) if self.words.next_if_eq(&"WITH").is_some() => {
                let exception = self.words.next().ok_or_else(|| "WITH what?".to_owned())?;
                Ok((self.allowed)(&format!("{license} WITH {exception}")))
            }
            Some(license) => Ok((self.allowed)(license)),
            None => Err("ends early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(expression: &str, expected: Result<bool, ()>) {
        let allowed = |id: &str| ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].contains(&id);
        assert_eq!(
            super::satisfied(expression, &allowed).map_err(|_| ()),
            expected,
            "{expression}"
        );
    }

    #[test]
    fn one_allowed_choice_suffices() {
        check("GPL-3.0 OR MIT", Ok(true));
        check("GPL-3.0/MIT", Ok(true));
        check("GPL-3.0", Ok(false));
    }

    #[test]
    fn every_part_of_an_and_must_be_allowed() {
        check("MIT AND Zlib", Ok(true));
        check("(MIT OR GPL-3.0) AND BSD-4-Clause", Ok(false));
        check("GPL-3.0 AND MIT OR Zlib", Ok(true));
    }

    #[test]
    fn an_exception_belongs_to_its_license() {
        check("Apache-2.0 WITH LLVM-exception", Ok(true));
        check("Apache-2.0", Ok(false));
    }

    #[test]
    fn refuses_what_is_no_expression() {
        for expression in ["", "OR", "MIT OR", "(MIT", "MIT)", "MIT Zlib", "MIT WITH"] {
            check(expression, Err(()));
        }
    }
}
