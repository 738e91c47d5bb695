//! Ports of the loopback address: free ones, and who holds one that is not.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::linux;

/// Who listens on a port, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id.
    pub pid: u32,
    /// Its command name.
    pub name: String,
}

impl std::fmt::Display for PortHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it before it is used: where a program can
/// choose its own port and tell it, let it.
///
/// # Errors
/// When no socket can be had.
pub fn free_loopback_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where ports are looked for that no outgoing connection is given: below those that systems choose by themselves.
const QUIET_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// `count` different ports of 127.0.0.1 that were free a moment ago and that the system does not give to outgoing
/// connections, so that a server which is down for a while finds its port free again. `seed` says where the search
/// begins: two processes that search at once with different seeds seldom meet.
///
/// # Errors
/// When there are not so many, or no socket can be had.
pub fn quiet_loopback_ports(count: usize, seed: u64) -> io::Result<Vec<u16>> {
    let first_given = first_port_of_outgoing_connections().unwrap_or(QUIET_PORTS.end);
    let end = QUIET_PORTS.end.min(first_given);
    let span = u64::from(end.saturating_sub(QUIET_PORTS.start));
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for k in 0..span {
        if ports.len() == count {
            break;
        }
        // All of them are tried, each once: 7,919 is a prime and no factor of the span.
        let port = QUIET_PORTS.start + ((seed.wrapping_add(k) % span * 7_919) % span) as u16;
        // Held until all are found, so that none is found twice.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
            ports.push(port);
        }
    }
    while ports.len() < count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ports.push(listener.local_addr()?.port());
        held.push(listener);
    }
    Ok(ports)
}

/// The lowest port that the system gives to outgoing connections, where it tells.
fn first_port_of_outgoing_connections() -> Option<u16> {
    if !linux::HAS_PROC {
        return None;
    }
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether a server could listen on `port` of 127.0.0.1 now.
///
/// # Errors
/// When the question cannot be asked: a port below 1,024 without the right to it, no sockets left.
pub fn loopback_port_is_free(port: u16) -> io::Result<bool> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(e) => Err(e),
    }
}

/// The process that listens on `port`, when the system tells (Linux, and a process of the same user).
pub fn port_holder(port: u16) -> Option<PortHolder> {
    if !linux::HAS_PROC {
        return None;
    }
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if let Ok(text) = std::fs::read_to_string(table) {
            inodes.extend(listening_inodes(&text, port));
        }
    }
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(fds) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let holds = fds
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .any(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str()));
        if holds {
            let name = std::fs::read(entry.path().join("comm")).unwrap_or_default();
            let name = super::tail::printable(String::from_utf8_lossy(&name).trim());
            return Some(PortHolder { pid, name });
        }
    }
    None
}

/// Socket inodes of the listeners on `port` in a text of the form of `/proc/net/tcp`. Lines that are not of that form
/// are passed over.
fn listening_inodes(text: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, hex) = fields.get(1)?.rsplit_once(':')?;
            let matches = u16::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == LISTEN;
            matches.then(|| fields.get(9)?.parse().ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_the_kernels_table_and_rubbish_is_passed_over() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:108E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 77123 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:108E 0100007F:D5A2 01 00000000:00000000 00:00000000 00000000  1000        0 77124 1 0 100 0 0 10 0\n\
            \x20  2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 901 1 0 100 0 0 10 0\n\
            rubbish\n\
            \x20  3: 0100007F:10ZZ 0 0A\n\
            \x20  4: 0100007F:108E 00000000:0000 0A\n";
        assert_eq!(listening_inodes(text, 4238), [77123]);
        assert_eq!(listening_inodes(text, 8080), [901]);
        assert_eq!(listening_inodes(text, 1), Vec::<u64>::new());
        assert_eq!(listening_inodes("", 1), Vec::<u64>::new());
    }

    #[test]
    fn quiet_ports_are_free_different_and_below_those_of_outgoing_connections() {
        for seed in [0, 77, u64::MAX] {
            let ports = quiet_loopback_ports(9, seed).unwrap();
            let different: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
            assert_eq!((ports.len(), different.len()), (9, 9), "{ports:?}");
            if first_port_of_outgoing_connections().is_none_or(|first| first >= QUIET_PORTS.end) {
                assert!(ports.iter().all(|p| QUIET_PORTS.contains(p)), "{ports:?}");
            }
        }
        // A port that is taken is passed over.
        let port = quiet_loopback_ports(1, 500).unwrap()[0];
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        if let Ok(_held) = holder {
            assert_ne!(quiet_loopback_ports(1, 500).unwrap(), [port]);
        }
    }

    #[test]
    fn a_port_that_is_held_is_not_free_and_its_holder_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!loopback_port_is_free(port).unwrap());
        if linux::HAS_PROC {
            assert_eq!(port_holder(port).unwrap().pid, std::process::id());
        }
        drop(listener);
        assert_eq!(port_holder(port), None);
    }
}
