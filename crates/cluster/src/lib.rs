//! Targets as custom resources, workloads as whatever in a cluster has a scale subresource.
//!
//! Watches fill an in-memory index; what follows from it is decided by pure functions ([`discovery`], `observe`), and
//! written by one module for each thing written. In the steady state it asks the API server for nothing.

pub mod backend;
pub mod client;
pub mod configuration;
pub mod context;
pub mod crd;
pub mod discovery;
pub mod events;
pub mod fact_store;
pub mod failure;
pub mod index;
pub mod kinds;
pub mod known;
pub mod leadership;
pub mod lease;
mod metrics;
pub mod names;
pub mod observe;
pub mod pods;
pub mod reconciler;
pub mod resource;
pub mod scale;
pub mod sources;
pub mod status;
pub mod watches;
mod workload_view;

pub use kube::Client;
pub use metrics::Metrics;
