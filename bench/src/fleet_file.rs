//! Many `ScaleTarget` documents at once, for the manual backend.

use std::fmt::Write as _;

/// Documents of `web` and of `others` more, `t-0` and so on, that no request uses. Each matches the cluster of its name, and the
/// host `<name>.example.com`, by which the manual backend is told what sleeps.
pub(crate) fn documents(others: usize) -> String {
    let mut out = document("web");
    for index in 0..others {
        let _ = write!(out, "---\n{}", document(&format!("t-{index}")));
    }
    out
}

fn document(name: &str) -> String {
    format!(
        "apiVersion: holdfast.dev/v1alpha1\nkind: ScaleTarget\nmetadata: {{name: {name}}}\nspec:\n  \
         workload: {{process: {{command: [\"true\"], ready: {{tcp: {{port: 50001}}}}}}}}\n  \
         match: {{clusters: [{name}], hosts: [{name}.example.com]}}\n"
    )
}
