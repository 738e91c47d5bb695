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
