//! Tests of the Kubernetes backend without containers: the real API server and controllers, and stand-ins for the rest.

mod apply;
pub mod assets;
pub mod audit;
mod certificates;
mod cluster;
pub mod eds;
mod fleets;
pub mod kubelet;
mod kustomization;
mod replicas;
pub mod scales;
mod stack;
mod task;
mod tokens;
mod watching;
mod workload;

pub use audit::Audit;
pub use cluster::Cluster;
pub use eds::{Eds, Follow};
pub use fleets::FLEETS;
pub use kubelet::Kubelet;
pub use scales::Scales;
pub use stack::{ACCOUNT, KubeStack, KubeStackBuilder, NAMESPACE, account};
use tokens::Tokens;
pub use workload::Workload;
