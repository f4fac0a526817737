//! Ports that no other process takes: neither another test process nor the kernel for an outgoing connection.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below the kernel's range for outgoing connections (32768 and up): a sleeping workload's port stays unbound for
/// long, and ten thousand clients must not be given it as their own.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

/// A port on 127.0.0.1 that nothing listens on, reserved until this process ends.
///
/// The reservation is an abstract Unix socket, so test processes that run at the same time do not collide.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<(u16, Vec<UnixListener>)> = Mutex::new((0, Vec::new()));
    let mut reserved = RESERVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if reserved.0 == 0 {
        // Start somewhere else in each process, so that a port just closed is not the first to be tried again.
        let span = u32::from(LAST - FIRST);
        reserved.0 = FIRST + u16::try_from(std::process::id() * 37 % span).unwrap();
    }
    for _ in FIRST..LAST {
        let port = reserved.0;
        reserved.0 = if port == LAST { FIRST } else { port + 1 };
        let name = SocketAddr::from_abstract_name(format!("holdfast-e2e-port-{port}")).unwrap();
        let Ok(reservation) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            reserved.1.push(reservation);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<u16> = (0..50).map(|_| free_port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50, "each port must be given once");
    }
}
