//! JSON documents: paths into them, and masking what they lead to. What is not masked stays as it was, byte for byte.

mod mask;
mod path;

pub use mask::{Masker, NotJson};
pub use path::{Path, PathError, STEPS};
