//! Which functions of the module Envoy may enter.
//!
//! Envoy enters the VM once for each exported `proxy_on_*` that applies to a request: at every chunk of a body, at trailers,
//! for the access log. The SDK exports them all, whether the filter does anything there or not. What is not listed here is
//! taken out of the module, and Envoy then goes on as if the callback had said so.

/// What the ABI itself needs.
const ABI: [&str; 6] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_delete",
];

/// The callbacks that the filter implements. `proxy_on_response_headers` is for `server-timing`, and for the pace of the
/// release, which follows the answers.
const CALLBACKS: [&str; 6] = [
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
];

/// True if Envoy has to find this export.
pub(super) fn is_kept(export: &str) -> bool {
    ABI.contains(&export) || CALLBACKS.contains(&export)
}

/// How many exports the module has in the end.
pub(super) const COUNT: usize = ABI.len() + CALLBACKS.len();

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::run::root;

    /// The export by which the SDK calls this method of one of its traits.
    fn export_of(callback: &str) -> String {
        match callback {
            "on_grpc_call_response" | "on_grpc_stream_message" => "proxy_on_grpc_receive".to_owned(),
            "on_grpc_stream_close" => "proxy_on_grpc_close".to_owned(),
            "on_http_call_response" => "proxy_on_http_call_response".to_owned(),
            other => format!(
                "proxy_{}",
                other
                    .replace("on_http_", "on_")
                    .replace("grpc_stream", "grpc_receive")
            ),
        }
    }

    /// Methods `on_*` in implementations of the SDK's traits.
    fn implemented() -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        let mut paths = vec![root().join("wasm-filter/src")];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            for part in text.split("\nimpl ").skip(1) {
                let (head, body) = part.split_once('{').unwrap();
                if !head.contains("Context for") {
                    continue;
                }
                let body = body.split("\n}\n").next().unwrap();
                let names = body
                    .split("fn ")
                    .skip(1)
                    .filter_map(|rest| rest.split('(').next());
                out.extend(names.filter(|name| name.starts_with("on_")).map(export_of));
            }
        }
        out
    }

    #[test]
    fn what_the_filter_implements_is_what_envoy_finds() {
        let listed: BTreeSet<String> = CALLBACKS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            implemented(),
            listed,
            "CALLBACKS must list the methods of the SDK's traits that wasm-filter/src implements, and no more"
        );
    }

    #[test]
    fn the_sdks_names_are_known() {
        assert_eq!(export_of("on_http_request_body"), "proxy_on_request_body");
        assert_eq!(export_of("on_log"), "proxy_on_log");
        assert_eq!(
            export_of("on_grpc_stream_initial_metadata"),
            "proxy_on_grpc_receive_initial_metadata"
        );
        assert!(!is_kept("proxy_on_request_body"));
        assert!(is_kept("proxy_on_delete"), "contexts must be freed");
    }
}
