//! Tests of the Kubernetes backend without containers: the real API server and controllers, and stand-ins for the rest.

mod apply;
pub mod assets;
pub mod audit;
mod certificates;
mod cluster;

pub use audit::Audit;
pub use cluster::Cluster;
