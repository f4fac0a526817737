//! Names the bounds of what is held over all gates of an Envoy: the shell tells a gate which one was reached.

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of requests.
    Requests,
    /// Of bytes.
    Bytes,
}
