//! The one rule by which an `:authority` names a host, for filter and control plane alike.

/// The host that an `:authority` names: without its port, and without the dot at its end that says that the name is complete. Envoy
/// finds the same virtual host for all of these where it strips both; `tests/hosts.json` says what names what. Bytes as they came, so
/// upper case is left: compare without case.
pub fn host_name(authority: &[u8]) -> &[u8] {
    let host = without_port(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

/// `host:80` → `host`; `[::1]:80` → `[::1]`; `host:` and `host:http` have none.
fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(at) if authority.get(at) == Some(&b':') && at + 1 < authority.len() => {
            authority.get(..at).unwrap_or(authority)
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::host_name;

    #[test]
    fn a_name_has_neither_port_nor_a_dot_at_its_end() {
        for (authority, name) in [
            ("web:80", "web"),
            ("web", "web"),
            ("web.", "web"),
            ("web.:80", "web"),
            ("web:", "web:"),
            ("web..", "web."),
            ("web:abc", "web:abc"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("80", "80"),
            (".", ""),
            (":", ":"),
            (":1", ""),
            ("", ""),
        ] {
            let found = host_name(authority.as_bytes());
            assert_eq!(found, name.as_bytes(), "of {authority:?}");
        }
    }
}
