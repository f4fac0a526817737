//! How large the linear memories of a process's WebAssembly VMs are, seen from outside.
//!
//! V8 reserves 8 GiB of addresses for each and makes as much of its beginning accessible as the VM has grown to, in
//! pages of 64 KiB: in `/proc/PID/maps` one anonymous `rw-p` mapping and right behind it one `---p`, together 8 GiB.

const RESERVED: u64 = 8 << 30;
const PAGE: u64 = 64 << 10;

/// The sizes of all linear memories of a process, in bytes, in order of address. Panics if there are none.
pub(crate) fn sizes(pid: i32) -> Vec<u64> {
    let path = format!("/proc/{pid}/maps");
    let maps = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let sizes = read(&maps);
    assert!(
        !sizes.is_empty(),
        "process {pid} has no VM that is known as one:\n{maps}"
    );
    sizes
}

struct Mapping<'a> {
    start: u64,
    end: u64,
    rights: &'a str,
    anonymous: bool,
}

fn read(maps: &str) -> Vec<u64> {
    let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(mapping).collect();
    let pairs = mappings.windows(2).filter_map(|pair| {
        let [used, free] = pair else { return None };
        let whole = used.rights == "rw-p"
            && free.rights == "---p"
            && used.anonymous
            && free.anonymous
            && used.end == free.start
            && free.end - used.start == RESERVED;
        whole.then_some(used.end - used.start)
    });
    let sizes: Vec<u64> = pairs.collect();
    assert!(
        sizes.iter().all(|size| size.is_multiple_of(PAGE)),
        "a VM grows by whole pages: {sizes:?}"
    );
    sizes
}

/// `7f63f8490000-7f63f85a0000 rw-p 00000000 00:00 0` and, if it is a file's or has a name, that.
fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        rights,
        // After offset, device and inode.
        anonymous: words.nth(3).is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Envoy 1.40 with two VMs: a thread's stack lies right before the second.
    const MAPS: &str = "\
111e80000000-111ebd400000 ---p 00000000 00:00 0
111ebd400000-111ec0000000 rw-p 00000000 00:00 0
55948778a000-559489817000 r--p 00000000 fe:00 12345                      /usr/bin/envoy
7f63f8490000-7f63f85a0000 rw-p 00000000 00:00 0
7f63f85a0000-7f65f8490000 ---p 00000000 00:00 0
7f65f849c000-7f65f84ac000 r--p 00000000 00:00 0
7f65f84ac000-7f65f84bc000 rw-p 00000000 00:00 0
7f65f84bc000-7f66084c0000 ---p 00000000 00:00 0
7f66084c0000-7f6628480000 rwxp 00000000 00:00 0
7f6629ca0000-7f662a4a0000 rw-p 00000000 00:00 0
7f662a4a0000-7f662a5c0000 rw-p 00000000 00:00 0
7f662a5c0000-7f682a4a0000 ---p 00000000 00:00 0
7ffce3c97000-7ffce3cb8000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn finds_what_is_accessible_of_each_reservation() {
        assert_eq!(read(MAPS), [17 * PAGE, 18 * PAGE]);
    }
}
