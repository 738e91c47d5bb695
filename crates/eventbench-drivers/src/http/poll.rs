//! Waiting for many sockets where there is no `epoll`: `poll`, which is handed all of them at each wait.

use super::lane::Interest;
use eventbench_core::host::monotonic_ns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A set of sockets, each under a number of its owner's.
pub struct Epoll(RefCell<BTreeMap<u64, (RawFd, Interest)>>);

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll(RefCell::default()))
    }

    /// Adds a socket, which its owner takes out when it closes it.
    pub fn add(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        self.0.borrow_mut().insert(number, (fd, interest));
        Ok(())
    }

    /// Changes what a socket is waited for.
    pub fn change(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        self.add(socket, number, interest)
    }

    /// Takes a socket out that is closed.
    pub fn forget(&self, number: u64) {
        self.0.borrow_mut().remove(&number);
    }

    /// Waits until one of them is ready or the instant has passed, and appends the numbers of those that are.
    pub fn wait(&self, until_ns: u64, ready: &mut Vec<u64>) -> io::Result<()> {
        let sockets = self.0.borrow();
        let mut set: Vec<PollFd<'_>> = sockets
            .values()
            .map(|(fd, interest)| {
                let flags = match interest {
                    Interest::Read => PollFlags::IN,
                    Interest::ReadWrite => PollFlags::IN | PollFlags::OUT,
                };
                // SAFETY: the owner takes a socket out when it closes it, so all that are in are open.
                PollFd::from_borrowed_fd(unsafe { BorrowedFd::borrow_raw(*fd) }, flags)
            })
            .collect();
        loop {
            let left = until_ns.saturating_sub(monotonic_ns());
            let timeout = Timespec {
                tv_sec: (left / 1_000_000_000) as _,
                tv_nsec: (left % 1_000_000_000) as _,
            };
            match poll(&mut set, Some(&timeout)) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let done = sockets.keys().zip(&set).filter(|(_, fd)| !fd.revents().is_empty());
        ready.extend(done.map(|(number, _)| *number));
        Ok(())
    }
}
