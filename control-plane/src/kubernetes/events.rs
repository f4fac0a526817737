//! Events on ScaleTargets, rate-limited.
