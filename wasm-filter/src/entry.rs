//! Registers the root context with the SDK. A module of its own, because the macro writes an exported function.

use proxy_wasm::traits::RootContext;
use proxy_wasm::types::LogLevel;

use crate::root::Root;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|context_id| -> Box<dyn RootContext> { Box::new(Root::new(context_id)) });
}}
