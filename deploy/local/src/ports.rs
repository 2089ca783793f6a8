//! Ports for processes that are killed and started again on the same ones.
//!
//! A port that the system gives out (port 0) may be given to anybody's outgoing connection while its owner is down. The
//! ports from here lie below those, and stay this process's until it ends: for each it keeps a socket on the same port
//! of a loopback address that nothing else uses, where everybody who asks here looks first.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Below what systems give to outgoing connections (`net.ipv4.ip_local_port_range`), above what services have by
/// custom.
const PORTS: Range<u16> = 20_000..32_768;

/// Where ports are marked as taken.
const MARKS: Ipv4Addr = Ipv4Addr::new(127, 68, 73, 70);

static TAKEN: Mutex<Taken> = Mutex::new(Taken { marks: Vec::new(), next: None });

struct Taken {
    marks: Vec<UdpSocket>,
    /// Where to look next; `None` before the first.
    next: Option<u16>,
}

/// A port of 127.0.0.1 that is free for TCP and for UDP, and that nobody else who asks here is given while this process
/// lives.
///
/// # Errors
/// `AddrInUse` if no port is left.
pub fn reserve() -> io::Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in PORTS {
        // Processes that run side by side begin in different places.
        let port = taken.next.unwrap_or_else(|| {
            let spread = std::process::id().wrapping_mul(509) % u32::from(PORTS.end - PORTS.start);
            PORTS.start.saturating_add(u16::try_from(spread).unwrap_or_default())
        });
        taken.next = Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
        let Ok(mark) = UdpSocket::bind((MARKS, port)) else { continue };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            taken.marks.push(mark);
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no port from {} on is free", PORTS.start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_lies_outside_what_the_system_gives_out() {
        let ports: Vec<_> = (0..50).map(|_| reserve().unwrap()).collect();
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
        for port in ports {
            assert!(UdpSocket::bind((MARKS, port)).is_err(), "{port} is not marked");
        }
    }

    #[test]
    fn a_port_that_somebody_has_is_passed_over() {
        let port = reserve().unwrap();
        let next = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
        // Whoever has it, or the test beside this one: it is not given again.
        let _holder = UdpSocket::bind((Ipv4Addr::LOCALHOST, next));
        assert_ne!(reserve().unwrap(), next);
    }
}
