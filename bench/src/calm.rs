//! How calm the machine is: what it takes here to come back after a rest. Idle software costs a multiple of that, whatever it does.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, gettid};

use crate::args::Size;
use crate::proc;
use crate::report::Report;

/// What was seen of it, in each round, in µs.
#[derive(Default)]
pub(crate) struct Calm {
    wakeup: Vec<f64>,
    page: Vec<f64>,
}

impl Calm {
    /// Looks at it. Takes three seconds in which this machine should have nothing else to do.
    pub(crate) fn look(&mut self, size: Size) {
        let micros = |time: Duration| 1e6 * time.as_secs_f64();
        self.wakeup.push(micros(wakeup(size.pick(100, 10))));
        self.page.push(micros(page(size.pick(10, 1))));
    }

    pub(crate) fn report(&self, report: &mut Report) {
        report.figure(
            "this machine: a wake-up of a thread that does nothing",
            "µs",
            &self.wakeup,
        );
        report.figure(
            "this machine: a page of memory that was last touched 200 ms ago",
            "µs",
            &self.page,
        );
    }
}

/// CPU time of one wake-up of a thread that does nothing else, in the mean of so many, 10 ms apart.
fn wakeup(times: u32) -> Duration {
    let sleeper = thread::spawn(move || {
        let (pid, tid) = (Pid::this().as_raw(), gettid().as_raw());
        let before = proc::cpu_of_thread(pid, tid);
        for _ in 0..times {
            thread::sleep(Duration::from_millis(10));
        }
        (proc::cpu_of_thread(pid, tid) - before) / times
    });
    sleeper.join().expect("sleeps only")
}

/// Time to touch one page of memory that was touched 200 ms before, in the mean of 1,000 pages and so many times. Caches alone
/// make it a part of a microsecond; it is more where the host of a virtual machine has taken the page away meanwhile.
fn page(times: u32) -> Duration {
    const PAGE: usize = 4096;
    const PAGES: usize = 1000;
    // Another line of each page, so that they do not all fall into the same set of a cache.
    let touch = |memory: &mut [u8]| {
        for (index, page) in memory.chunks_exact_mut(PAGE).enumerate() {
            let byte = &mut page[index * 64 % PAGE];
            *byte = black_box(byte.wrapping_add(1));
        }
    };
    let mut memory = vec![0_u8; PAGE * PAGES];
    touch(&mut memory);
    let mut taken = Duration::ZERO;
    for _ in 0..times {
        thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        touch(black_box(&mut memory));
        taken += begun.elapsed();
    }
    taken / (times * PAGES as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coming_back_is_not_free() {
        assert!(wakeup(5) > Duration::ZERO);
        assert!(page(1) > Duration::ZERO);
    }
}
