//! Which core what is measured has for itself, and which cores everything else shares.

use crate::proc;

/// The last core for what is measured, the others for the rest. With one core only, both are that one.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    tested: Vec<usize>,
    rest: Vec<usize>,
}

impl Cores {
    pub(crate) fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            tested: vec![cores - 1],
            rest: (0..(cores - 1).max(1)).collect(),
        }
    }

    /// Moves processes to the core for what is measured.
    pub(crate) fn test(&self, pids: &[i32]) {
        pids.iter().for_each(|pid| proc::pin(*pid, &self.tested));
    }

    /// Moves processes out of the way.
    pub(crate) fn put_aside(&self, pids: &[i32]) {
        pids.iter().for_each(|pid| proc::pin(*pid, &self.rest));
    }

    /// For what is started with a list of cores.
    pub(crate) fn rest(&self) -> Vec<usize> {
        self.rest.clone()
    }
}
