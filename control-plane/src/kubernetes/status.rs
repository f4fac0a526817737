//! Writes the status of ScaleTargets.
