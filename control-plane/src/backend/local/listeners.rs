//! Whether a process listens at an address: as the kernel lists it, without a connection that a workload would take for use.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::probe;

/// Two questions within it are answered by one look: the list is as long as there are connections on this machine.
const FRESH: Duration = Duration::from_secs(1);

/// The listeners of this machine. Shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    seen: Mutex<Option<(Instant, BTreeSet<SocketAddr>)>>,
}

impl Listeners {
    /// True only if it is certain that no process listens: none is listed, and a connection is refused. A second old at most.
    pub(super) async fn is_closed(&self, address: SocketAddr) -> bool {
        // Something outside this network namespace may listen and not be listed.
        !self.lists(address).await && probe::is_refused(address).await
    }

    async fn lists(&self, address: SocketAddr) -> bool {
        let mut seen = self.seen.lock().await;
        if seen.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            // Reading the list takes the kernel milliseconds where there are many connections.
            let listed = tokio::task::spawn_blocking(read).await.unwrap_or_default();
            *seen = Some((Instant::now(), listed));
        }
        let Some((_, listed)) = &*seen else { return false };
        let any = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // A socket for all of IPv6 usually takes IPv4 as well.
        [address.ip(), any, IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .into_iter()
            .any(|ip| listed.contains(&SocketAddr::new(ip, address.port())))
    }
}

fn read() -> BTreeSet<SocketAddr> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().filter_map(listener).collect::<Vec<_>>()
        })
        .collect()
}

/// The local address of a line of `/proc/net/tcp` that is about a listening socket.
fn listener(line: &str) -> Option<SocketAddr> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (local, _, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the order of this machine.
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::from(<[u8; 16]>::try_from(words).ok()?)
        }
        _ => return None,
    };
    (state == LISTENS).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn reads_the_kernels_list() {
        for (line, expected) in [
            ("  sl  local_address rem_address   st tx_queue rx_queue", None),
            (
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000",
                Some("127.0.0.1:8080"),
            ),
            (
                "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0",
                Some("[::1]:80"),
            ),
            ("   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000", None),
            ("   3: nonsense 00000000:0000 0A", None),
        ] {
            // The list is written in the order of the machine's bytes; these lines are from a little-endian one.
            if cfg!(target_endian = "little") {
                assert_eq!(
                    listener(line).map(|address| address.to_string()).as_deref(),
                    expected,
                    "must read {line}"
                );
            }
        }
    }

    #[tokio::test]
    async fn is_certain_before_it_says_closed() {
        for place in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(there) = TcpListener::bind(place).await else {
                continue;
            };
            let port = there.local_addr().unwrap().port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let listeners = Listeners::default();
            assert!(
                !listeners.is_closed(address).await,
                "must know who listens at {place}"
            );
            let taken = tokio::time::timeout(Duration::from_millis(1), there.accept()).await;
            assert!(taken.is_err(), "must not connect to find that out");
            drop(there);
            let listeners = Listeners::default();
            assert!(listeners.is_closed(address).await, "must know that it is gone");
        }
    }

    #[tokio::test]
    async fn believes_a_connection_more_than_the_list() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners::default();
        *listeners.seen.lock().await = Some((Instant::now(), BTreeSet::new()));
        let address = there.local_addr().unwrap();
        assert!(!listeners.is_closed(address).await, "must ask before it says so");
    }
}
