//! Why a workload cannot start, in people's words: read from conditions of the workload and of its Pods.
