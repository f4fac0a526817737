//! Gives out pod IPs: loopback addresses that no other pod of this machine has or had.

use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// 127.N.0.0/16, reserved for its owner among all test processes of this machine until it is dropped.
pub(super) struct Network {
    second: u8,
    next: AtomicU16,
    _reservation: UnixListener,
}

impl Network {
    /// Takes a free one. 127.0.0.0/16, where everything else listens, is never given.
    pub(super) fn reserve() -> Self {
        // Start somewhere else in each process, so that addresses just left are not the first to be used again.
        let first = std::process::id() * 37 % 254;
        for offset in 0..254 {
            let second = u8::try_from((first + offset) % 254 + 1).unwrap();
            let name = SocketAddr::from_abstract_name(format!("holdfast-e2e-network-{second}")).unwrap();
            if let Ok(reservation) = UnixListener::bind_addr(&name) {
                return Self {
                    second,
                    next: AtomicU16::new(0),
                    _reservation: reservation,
                };
            }
        }
        panic!("254 kubelets run at once on this machine");
    }

    /// An address that was not given out before.
    pub(super) fn next(&self) -> Ipv4Addr {
        // 253 hosts of each /24: never .0, .1 or .255.
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let third = u8::try_from(n / 253 + 1).expect("fewer than 64,000 pods");
        let fourth = u8::try_from(n % 253 + 2).unwrap();
        Ipv4Addr::new(127, self.second, third, fourth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_share_no_address() {
        let (one, other) = (Network::reserve(), Network::reserve());
        let mut addresses: Vec<_> = (0..600).flat_map(|_| [one.next(), other.next()]).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 1200, "each address must be given once");
    }
}
