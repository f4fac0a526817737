//! A real Kubernetes API server for the end-to-end tests, and what stands in for nodes and a mesh around it: see [`kube`].
//!
//! Envoy, control plane and upstream are started by the crate `harness`, which knows no Kubernetes. The tests are in `e2e/tests/`, a file
//! for each surface.

pub mod kube;
