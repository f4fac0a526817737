//! No circle of modules: within a crate, a module that uses another is not used by it, not even by a detour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The module at the root that uses a module, and one of the files that does.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// Folders of sources, and the modules in them whose circles are meant, with the reason.
const CRATES: &[(&str, &[&str])] = &[
    // What tests of other crates begin with counts what the fleet looks at.
    ("crates/fleet/src", &["testing"]),
    ("crates/fleet/src/lifecycle", &[]),
    ("crates/fleet/src/config", &[]),
    ("crates/fleet-actor/src", &[]),
    ("crates/fleet/src/fleet", &[]),
    ("crates/fleet/src/fleet/proxies", &[]),
    ("crates/cluster/src", &[]),
    ("crates/cluster/src/discovery", &[]),
    ("crates/cluster/src/events", &[]),
    ("crates/cluster/src/failure", &[]),
    ("crates/cluster/src/index", &[]),
    ("crates/cluster/src/lease", &[]),
    ("crates/cluster/src/observe", &[]),
    ("crates/cluster/src/scale", &[]),
    ("crates/cluster/src/status", &[]),
    ("control-plane/src", &[]),
    ("control-plane/src/backend/local", &[]),
    ("control-plane/src/http", &[]),
    ("control-plane/src/http/auth", &[]),
    ("control-plane/src/http/server", &[]),
    ("control-plane/src/logs", &[]),
    ("control-plane/src/serve", &[]),
    ("control-plane/src/serve/secrets", &[]),
    // What tests of other crates begin with names the gate's permits, and the gate's tests begin with it.
    ("crates/hold/src", &["testing"]),
    ("crates/hold/src/gate", &[]),
    ("extproc/processors/src", &[]),
    ("extproc/processors/src/algorithms", &[]),
];

#[test]
fn no_modules_of_a_folder_use_one_another_in_a_circle() {
    for (folder, meant) in CRATES {
        let mut uses = read_uses(folder);
        for module in *meant {
            uses.remove(*module)
                .unwrap_or_else(|| panic!("{folder}: {module} uses nothing: say so no more"));
        }
        let circle = find_circle(&uses);
        assert!(circle.is_none(), "{folder}: {}", circle.unwrap_or_default());
    }
}

#[test]
fn a_circle_is_found_and_named() {
    let uses = |pairs: &[(&str, &str)]| {
        let mut uses = Uses::new();
        for (from, to) in pairs {
            let file = format!("{from}.rs");
            uses.entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned(), file);
        }
        uses
    };
    let straight = uses(&[("a", "b"), ("a", "c"), ("b", "c")]);
    assert_eq!(find_circle(&straight), None);
    let detour = uses(&[("a", "b"), ("b", "c"), ("c", "b")]);
    assert_eq!(
        find_circle(&detour).as_deref(),
        Some("b (b.rs) -> c (c.rs) -> b"),
        "must name the circle alone"
    );
    let named = names_in(
        "use super::b::{C, d::{E}};\nlet x = crate::e::f(); // crate::g",
        &["a".to_owned()],
    );
    let expected = [&["e", "f"][..], &["b", "C"], &["b", "d", "E"]];
    assert_eq!(named, expected, "must read both kinds of paths");
}

/// Which modules of the folder use which others of it. Tests do not count: they may look at everything.
fn read_uses(folder: &str) -> Uses {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let within: Vec<_> = folder
        .split_once("src/")
        .map_or_else(Vec::new, |(_, rest)| rest.split('/').map(str::to_owned).collect());
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.extend(
                    path.extension()
                        .is_some_and(|extension| extension == "rs")
                        .then_some(path),
                ),
            }
        }
    }
    let modules: Vec<_> = files
        .iter()
        .map(|file| (module_of(file.strip_prefix(&root).unwrap()), file))
        .filter(|(module, _)| !module.is_empty() && !module.iter().any(|part| is_test(part)))
        .collect();
    let exported = exported_by(&root);
    let heads: BTreeSet<_> = modules.iter().map(|(module, _)| module[0].clone()).collect();
    let mut uses = Uses::new();
    for (module, file) in &modules {
        let text = std::fs::read_to_string(file).unwrap();
        let path = [&within[..], &module[..]].concat();
        for named in names_in(&text, &path) {
            let Some(name) = named.strip_prefix(&within[..]).and_then(|rest| rest.first()) else {
                continue;
            };
            let head = exported.get(name).unwrap_or(name);
            if heads.contains(head) && *head != module[0] {
                let shown = file.strip_prefix(&root).unwrap().display().to_string();
                uses.entry(module[0].clone())
                    .or_default()
                    .insert(head.clone(), shown);
            }
        }
    }
    assert!(
        !uses.is_empty() || heads.len() < 2,
        "{folder}: must use something"
    );
    uses
}

/// Which module each item is from that the folder's own module gives out again.
fn exported_by(root: &Path) -> BTreeMap<String, String> {
    let beside = root.with_extension("rs");
    let file = [root.join("lib.rs"), root.join("mod.rs"), beside]
        .into_iter()
        .find(|file| file.exists())
        .expect("a folder of sources has a file of its own");
    let text = std::fs::read_to_string(file).unwrap().replace('\n', " ");
    let statements = text.split(';').map(str::trim_start);
    let exports = statements
        .filter_map(|statement| statement.strip_prefix("pub")?.split_once("use "))
        .map(|(_, path)| path);
    exports
        .flat_map(paths_at)
        .filter(|path| path.len() > 1)
        .map(|path| (path[path.len() - 1].clone(), path[0].clone()))
        .collect()
}

fn module_of(file: &Path) -> Vec<String> {
    let name = file.with_extension("");
    let mut parts: Vec<_> = name
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if ["mod", "lib", "main"].contains(&parts.last().expect("a file has a name").as_str()) {
        parts.pop();
    }
    parts
}

fn is_test(module: &str) -> bool {
    ["tests", "testing_world", "world", "model", "props", "rivals"].contains(&module)
}

/// Paths within the crate that a file of the module `path` names by `crate` and `super`.
fn names_in(text: &str, path: &[String]) -> Vec<Vec<String>> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<_> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join(" ");
    let mut named = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c)) {
                continue;
            }
            let mut rest = &code[at..];
            let mut ups = 0;
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                ups += 1;
            }
            let base = match rest.strip_prefix("crate::") {
                Some(after) => {
                    rest = after;
                    &[][..]
                }
                None => &path[..path.len().saturating_sub(ups)],
            };
            for names in paths_at(rest) {
                named.push([base, &names[..]].concat());
            }
        }
    }
    named
}

/// The paths that `text` begins with: one, or all of a list in braces.
fn paths_at(text: &str) -> Vec<Vec<String>> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let head: Vec<_> = head
        .split("::")
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let Some(list) = rest.strip_prefix('{') else {
        return vec![head];
    };
    let mut depth = 0_usize;
    let mut begins = 0;
    let mut paths = Vec::new();
    for (at, c) in list.char_indices() {
        if depth == 0 && (c == ',' || c == '}') {
            let inner = paths_at(list[begins..at].trim_start());
            paths.extend(inner.into_iter().map(|path| [&head[..], &path[..]].concat()));
            begins = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    paths
}

/// One circle, with the files that make it.
fn find_circle(uses: &Uses) -> Option<String> {
    for start in uses.keys() {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way.last().expect("a way begins somewhere");
            for next in uses.get(last).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    let shown = way.iter().zip(way.iter().skip(1).chain([start]));
                    let shown: Vec<_> = shown
                        .map(|(from, to)| format!("{from} ({})", uses[from][to]))
                        .collect();
                    return Some(format!("{} -> {start}", shown.join(" -> ")));
                }
                if seen.insert(next.clone()) {
                    ways.push([&way[..], std::slice::from_ref(next)].concat());
                }
            }
        }
    }
    None
}
