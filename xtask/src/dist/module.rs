//! A WebAssembly module as a run of sections: takes out exports and custom sections, and copies the rest byte for byte.
//!
//! <https://webassembly.github.io/spec/core/binary/modules.html>

use anyhow::{Context as _, bail, ensure};

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const CUSTOM: u8 = 0;
const EXPORT: u8 = 7;

/// The module without the exports that `keep` refuses.
pub(super) fn with_exports(module: &[u8], keep: impl Fn(&str) -> bool) -> anyhow::Result<Vec<u8>> {
    rewrite(module, |id, content, out| {
        if id == EXPORT {
            let kept: Vec<_> = exports(content)?
                .into_iter()
                .filter(|(name, _)| keep(name))
                .collect();
            let mut section = Vec::new();
            put_number(&mut section, kept.len());
            kept.iter()
                .for_each(|(_, bytes)| section.extend_from_slice(bytes));
            put_section(out, id, &section);
        } else {
            put_section(out, id, content);
        }
        Ok(())
    })
}

/// The module without what only people read: names, producers.
pub(super) fn without_custom_sections(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    rewrite(module, |id, content, out| {
        if id != CUSTOM {
            put_section(out, id, content);
        }
        Ok(())
    })
}

/// Names of the module's exports.
pub(super) fn export_names(module: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    rewrite(module, |id, content, _| {
        if id == EXPORT {
            names.extend(exports(content)?.into_iter().map(|(name, _)| name.to_owned()));
        }
        Ok(())
    })?;
    Ok(names)
}

fn rewrite(
    module: &[u8],
    mut section: impl FnMut(u8, &[u8], &mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let mut rest = module.strip_prefix(HEADER).context("no WebAssembly module")?;
    let mut out = HEADER.to_vec();
    while let Some((id, after)) = rest.split_first() {
        rest = after;
        let length = take_number(&mut rest)?;
        section(*id, take(&mut rest, length)?, &mut out)?;
    }
    Ok(out)
}

/// Each export's name, and all of its bytes.
fn exports(section: &[u8]) -> anyhow::Result<Vec<(&str, &[u8])>> {
    let mut rest = section;
    let count = take_number(&mut rest)?;
    let mut out = Vec::new();
    for _ in 0..count {
        let from = rest;
        let length = take_number(&mut rest)?;
        let name = std::str::from_utf8(take(&mut rest, length)?)?;
        let _kind = take(&mut rest, 1)?;
        let _index = take_number(&mut rest)?;
        out.push((name, take(&mut { from }, from.len() - rest.len())?));
    }
    ensure!(rest.is_empty(), "bytes follow the last export");
    Ok(out)
}

fn put_section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    put_number(out, content.len());
    out.extend_from_slice(content);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> anyhow::Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).context("the module is cut short")?;
    *rest = after;
    Ok(taken)
}

/// Unsigned LEB128.
fn take_number(rest: &mut &[u8]) -> anyhow::Result<usize> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = take(rest, 1)?.first().copied().unwrap_or(0);
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number has more than 32 bits")
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions, exported under these names, and a custom section.
    fn mk_module(names: [&str; 2]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        put_section(&mut out, 1, &[1, 0x60, 0, 0]);
        put_section(&mut out, 3, &[2, 0, 0]);
        let mut exports = vec![2];
        for (index, name) in (0..).zip(names) {
            put_number(&mut exports, name.len());
            exports.extend_from_slice(name.as_bytes());
            exports.extend_from_slice(&[0, index]);
        }
        put_section(&mut out, EXPORT, &exports);
        put_section(&mut out, 10, &[2, 2, 0, 0x0b, 2, 0, 0x0b]);
        put_section(&mut out, CUSTOM, b"\x04name\0");
        out
    }

    #[test]
    fn exports_are_taken_out() {
        let long = "x".repeat(200);
        let module = mk_module(["proxy_on_log", &long]);
        let kept = with_exports(&module, |name| name == long).unwrap();
        assert_eq!(export_names(&kept).unwrap(), [long]);
        let all = with_exports(&module, |_| true).unwrap();
        assert_eq!(all, module, "must change nothing else");
    }

    #[test]
    fn custom_sections_are_taken_out() {
        let module = mk_module(["a", "b"]);
        let bare = without_custom_sections(&module).unwrap();
        assert_eq!(bare, module[..module.len() - 8]);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let module = mk_module(["a", "b"]);
        assert!(export_names(b"").is_err());
        assert!(export_names(b"\x7fELF....").is_err());
        assert!(
            export_names(&module[..module.len() - 1]).is_err(),
            "must notice a cut"
        );
        let endless = [HEADER, &[7, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat();
        assert!(export_names(&endless).is_err());
    }
}
