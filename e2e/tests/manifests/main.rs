//! The manifests in `kubernetes/`: the real API server takes each of them with the real schemas installed, what they say of
//! one another holds, and Envoy takes what they hand to it. No container is started.

mod accepted;
mod demo;
mod envoy;
mod hardened;
mod images;
mod kubectl;
mod plugins;
mod references;
mod removal;
mod replicas;
mod routes;
mod scripts;
mod selectors;
mod tls;
mod tree;
