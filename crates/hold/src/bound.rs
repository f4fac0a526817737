//! Bounds of what is held, over all gates of an Envoy: who keeps them tells the gate which was reached.

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of requests.
    Requests,
    /// Of bytes.
    Bytes,
}
