//! Takes exports and custom sections out of a WebAssembly module; every other section is copied byte for byte.

use anyhow::Context as _;
use wasm_encoder::{ExportSection, Module, RawSection};
use wasmparser::{Parser, Payload};

/// The module without the exports that `keep` refuses.
///
/// # Errors
/// If `module` is not a whole WebAssembly module.
pub(super) fn with_exports(module: &[u8], keep: impl Fn(&str) -> bool) -> anyhow::Result<Vec<u8>> {
    rewrite(module, |payload, out| {
        let Payload::ExportSection(exports) = payload else {
            return Ok(false);
        };
        let mut section = ExportSection::new();
        for export in exports.clone() {
            let export = export?;
            if keep(export.name) {
                section.export(export.name, export.kind.into(), export.index);
            }
        }
        out.section(&section);
        Ok(true)
    })
}

/// The module without what only people read: names, producers.
///
/// # Errors
/// If `module` is not a whole WebAssembly module.
pub(super) fn without_custom_sections(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    rewrite(module, |payload, _| {
        Ok(matches!(payload, Payload::CustomSection(_)))
    })
}

/// Names of the module's exports.
///
/// # Errors
/// If `module` is not a whole WebAssembly module.
pub(super) fn export_names(module: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    rewrite(module, |payload, _| {
        if let Payload::ExportSection(exports) = payload {
            for export in exports.clone() {
                names.push(export?.name.to_owned());
            }
        }
        Ok(false)
    })?;
    Ok(names)
}

/// Copies each section unless `replace` has written what stands in its place, if anything, and returns true.
fn rewrite(
    module: &[u8],
    mut replace: impl FnMut(&Payload<'_>, &mut Module) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<u8>> {
    let mut out = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("not a WebAssembly module")?;
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        if !replace(&payload, &mut out)? {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            let data = module.get(range).context("the module is cut short")?;
            out.section(&RawSection { id, data });
        }
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{CodeSection, CustomSection, ExportKind, Function, FunctionSection, TypeSection};

    use super::*;

    /// Two functions, exported under these names, and a custom section.
    fn mk_module(names: [&str; 2], custom: bool) -> Vec<u8> {
        let mut module = Module::new();
        let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
        types.ty().function([], []);
        functions.function(0).function(0);
        module.section(&types).section(&functions);
        let mut exports = ExportSection::new();
        for (index, name) in (0..).zip(names) {
            exports.export(name, ExportKind::Func, index);
        }
        let mut code = CodeSection::new();
        for _ in names {
            let mut body = Function::new([]);
            body.instructions().end();
            code.function(&body);
        }
        module.section(&exports).section(&code);
        if custom {
            let (name, data) = ("name".into(), b"\0".into());
            module.section(&CustomSection { name, data });
        }
        module.finish()
    }

    #[test]
    fn exports_are_taken_out() {
        let long = "x".repeat(200);
        let module = mk_module(["proxy_on_log", &long], true);
        let kept = with_exports(&module, |name| name == long).unwrap();
        assert_eq!(export_names(&kept).unwrap(), [long]);
        let all = with_exports(&module, |_| true).unwrap();
        assert_eq!(all, module, "must change nothing else");
    }

    #[test]
    fn custom_sections_are_taken_out() {
        let module = mk_module(["a", "b"], true);
        let bare = without_custom_sections(&module).unwrap();
        assert_eq!(
            bare,
            mk_module(["a", "b"], false),
            "must leave everything else as it was"
        );
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let module = mk_module(["a", "b"], true);
        assert!(export_names(b"").is_err());
        assert!(export_names(b"\x7fELF....").is_err());
        assert!(
            export_names(&module[..module.len() - 1]).is_err(),
            "must notice a cut"
        );
        let endless = [
            b"\0asm\x01\0\0\0".as_slice(),
            &[7, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ]
        .concat();
        assert!(export_names(&endless).is_err());
    }
}
