//! The real executable on loopback: what it speaks, and how it starts and ends.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod life;
#[cfg(test)]
mod protocols;
