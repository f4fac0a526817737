//! What the kernel says of a process: CPU time, memory, on which cores it runs.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of all threads, those that have ended included.
pub(crate) fn cpu(pid: i32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).expect("a living process");
    Duration::from(clock_gettime(clock).expect("its clock"))
}

/// CPU time of the threads whose name begins so. Panics if there are none.
pub(crate) fn cpu_of_threads(pid: i32, name: &str) -> Duration {
    let named = |tid: &i32| read(&format!("/proc/{pid}/task/{tid}/comm")).starts_with(name);
    let found: Vec<Duration> = threads(pid)
        .into_iter()
        .filter(named)
        .map(|tid| cpu_of_thread(pid, tid))
        .collect();
    assert!(!found.is_empty(), "process {pid} has no thread {name}");
    found.into_iter().sum()
}

/// CPU time of the thread that the process began with.
pub(crate) fn cpu_of_main_thread(pid: i32) -> Duration {
    cpu_of_thread(pid, pid)
}

/// How often the kernel let its living threads run: of idle ones, how often they woke up.
pub(crate) fn wakeups(pid: i32) -> u64 {
    let of_each = threads(pid).into_iter().map(|tid| schedstat(pid, tid)[2]);
    of_each.sum()
}

/// CPU time of one thread.
pub(crate) fn cpu_of_thread(pid: i32, tid: i32) -> Duration {
    Duration::from_nanos(schedstat(pid, tid)[0])
}

/// Nanoseconds on a core, nanoseconds waiting for one, and how often it ran (Linux, Documentation/scheduler/sched-stats).
fn schedstat(pid: i32, tid: i32) -> [u64; 3] {
    let text = read(&format!("/proc/{pid}/task/{tid}/schedstat"));
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|text| text.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.unwrap_or_else(|| panic!("schedstat of {tid}: {text}"))
}

/// Resident memory, in bytes.
pub(crate) fn resident(pid: i32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most resident memory so far, or since [`reset_peak`], in bytes.
pub(crate) fn resident_peak(pid: i32) -> u64 {
    status(pid, "VmHWM:")
}

/// Lets the peak begin anew, at what is resident now.
pub(crate) fn reset_peak(pid: i32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("one's own process");
}

/// Lets the process, with all of its threads, run on these cores only.
pub(crate) fn pin(pid: i32, cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).expect("a core");
    }
    for tid in threads(pid) {
        // A thread may have ended meanwhile.
        let _ = sched_setaffinity(Pid::from_raw(tid), &set);
    }
}

fn status(pid: i32, field: &str) -> u64 {
    let text = read(&format!("/proc/{pid}/status"));
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {field} in the status of {pid}")) * 1024
}

fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process() {
        let pid = std::process::id().cast_signed();
        let before = cpu(pid);
        let mut sum = 0_u64;
        while cpu(pid) - before < Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(resident(pid) > 100_000, "a process must take memory");
        assert!(resident_peak(pid) >= resident(pid) / 2);
        assert!(cpu_of_threads(pid, "") > Duration::ZERO);
    }

    #[test]
    fn counts_wakeups() {
        let pid = std::process::id().cast_signed();
        let before = wakeups(pid);
        std::thread::sleep(Duration::from_millis(5));
        assert!(wakeups(pid) > before, "a thread that sleeps must wake up");
    }
}
