//! Proxy-Wasm modules that Holdfast is compared with: see `examples/`. This library is empty.
