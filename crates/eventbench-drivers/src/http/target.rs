//! Where requests go: a URL taken apart, its addresses, and the addresses to come from.

use super::settings::Sources;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections from one address before the next loopback address is used: beyond about 14,000 the kernel's search for
/// a free port takes longer than everything else.
const PER_ADDRESS: u32 = 10_000;
/// Loopback addresses that are used of themselves.
const MOST_ADDRESSES: u32 = 16;

/// A text is no URL to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It makes no sense.
    #[error("\"{0}\" is no URL to ask; expected http://HOST:PORT or https://HOST, with a path if need be")]
    Wrong(String),
    /// It would show a password in every report.
    #[error("the URL holds a user; send an Authorization header instead")]
    User,
}

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it begins with https.
    pub tls: bool,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as the URL has them, for the Host header.
    pub authority: String,
    /// Its path without a slash at the end.
    pub path: String,
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// It is none, or holds a user.
    pub fn parse(url: &str) -> Result<Target, UrlError> {
        let wrong = || UrlError::Wrong(url.escape_debug().to_string());
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        if url.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
            return Err(wrong());
        }
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => {
                let (host, behind) = inside.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (
                    host,
                    behind
                        .strip_prefix(':')
                        .or((behind.is_empty()).then_some(""))
                        .ok_or_else(wrong)?,
                )
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = match (port, tls) {
            ("", _) if authority.ends_with(':') => return Err(wrong()),
            ("", false) => 80,
            ("", true) => 443,
            (port, _) => port.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)?,
        };
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b) || b >= 0x80;
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong());
        }
        Ok(Target {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: path.strip_suffix('/').unwrap_or(path).to_owned(),
        })
    }

    /// The address to connect to: the first that takes a connection, where the name has several.
    ///
    /// # Errors
    /// The name has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let all: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let first = *all.first().ok_or_else(none)?;
        if all.len() == 1 {
            return Ok(first);
        }
        let takes = |a: &&SocketAddr| TcpStream::connect_timeout(a, Duration::from_secs(2)).is_ok();
        Ok(all.iter().find(takes).copied().unwrap_or(first))
    }
}

/// The addresses that one lane connects from.
#[derive(Debug, Clone)]
pub struct From {
    list: Vec<IpAddr>,
    /// With how many open connections the next loopback address is used; `None` where addresses were given, or there
    /// are none to use.
    next_after: Option<u32>,
    turn: usize,
}

impl From {
    /// The addresses of one of `lanes` lanes.
    pub fn new(sources: Option<&Sources>, target: SocketAddr, lanes: u32) -> From {
        let loopback = |n: u32| IpAddr::V4(Ipv4Addr::new(127, 0, 0, (1 + n).min(254) as u8));
        let is_local = target.ip().is_loopback() && target.is_ipv4() && cfg!(target_os = "linux");
        let (list, next_after) = match sources {
            Some(Sources::List(list)) => (list.clone(), None),
            Some(Sources::Count(n)) => ((1..=u32::from(*n)).map(loopback).collect(), None),
            None if is_local => (
                (1..=MOST_ADDRESSES).map(loopback).collect(),
                Some((PER_ADDRESS / lanes).max(1)),
            ),
            None => (Vec::new(), None),
        };
        From {
            list,
            next_after,
            turn: 0,
        }
    }

    /// The address for one more connection while `open` are open; `None` leaves it to the kernel.
    fn next(&mut self, open: u32) -> Option<IpAddr> {
        match self.next_after {
            Some(each) => {
                let block = open / each;
                let place = block.checked_sub(1)? as usize;
                self.list.get(place % self.list.len().max(1)).copied()
            }
            None => {
                self.turn += 1;
                self.list.get(self.turn % self.list.len().max(1)).copied()
            }
        }
    }

    /// Begins a connection without waiting for it, and says whether it is there already.
    ///
    /// # Errors
    /// It cannot even be begun: no descriptor or no port is left, or the address is not one of this machine.
    pub fn connect(&mut self, to: SocketAddr, open: u32) -> io::Result<(TcpStream, bool)> {
        let family = if to.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = open_socket(family)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(from) = self.next(open) {
            late_port(&socket);
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
        }
        let connected = match rustix::net::connect(&socket, &to) {
            Ok(()) => true,
            Err(Errno::INPROGRESS) => false,
            Err(e) => return Err(e.into()),
        };
        Ok((TcpStream::from(socket), connected))
    }
}

#[cfg(target_os = "linux")]
fn open_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        Some(ipproto::TCP),
    )?)
}

#[cfg(not(target_os = "linux"))]
fn open_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Asks the kernel to choose the port when it connects, by both addresses, rather than when it binds, by one: else an
/// address has no more ports than the range holds, all targets together.
#[cfg(target_os = "linux")]
fn late_port(socket: &OwnedFd) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option's value is a c_int of the length given. A failure only means fewer
    // ports.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn late_port(_: &OwnedFd) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = |url: &str| Target::parse(url).map(|t| (t.tls, t.host, t.port, t.authority, t.path));
        let own = |tls, host: &str, port, authority: &str, path: &str| {
            Ok((tls, host.to_owned(), port, authority.to_owned(), path.to_owned()))
        };
        assert_eq!(
            target("http://127.0.0.1:8080"),
            own(false, "127.0.0.1", 8080, "127.0.0.1:8080", "")
        );
        assert_eq!(target("https://host/api/"), own(true, "host", 443, "host", "/api"));
        assert_eq!(
            target("http://[::1]:81/a?b=c"),
            own(false, "::1", 81, "[::1]:81", "/a?b=c")
        );
        for wrong in [
            "",
            "host:80",
            "ftp://host",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:",
            "http://h:x",
            "http://h h",
            "http://[::1",
            "http://[::g]",
            "http://h/#x",
            "http://h\r\nX: y",
        ] {
            assert!(matches!(target(wrong), Err(UrlError::Wrong(_))), "{wrong}");
        }
        assert_eq!(target("http://u:p@h"), Err(UrlError::User));
    }

    #[test]
    fn sources_are_used_in_turn_or_when_one_is_full() {
        let to: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let ip = |n: u8| Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)));
        let mut two = From::new(Some(&Sources::Count(2)), to, 1);
        let mut turns = [two.next(0), two.next(0), two.next(0)];
        turns.sort();
        assert_eq!((turns[0], turns[2]), (ip(2), ip(3)));
        let mut own = From::new(None, to, 2);
        if cfg!(target_os = "linux") {
            assert_eq!(
                [own.next(0), own.next(4_999), own.next(5_000), own.next(10_000)],
                [None, None, ip(2), ip(3)]
            );
        }
        let mut far = From::new(None, "192.0.2.1:80".parse().unwrap(), 1);
        assert_eq!(far.next(50_000), None);
    }
}
