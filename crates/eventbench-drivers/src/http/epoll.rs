//! Waiting for many sockets until an instant: `epoll`, since 18,000 sockets cannot be handed to the kernel at each wait.
//!
//! The wait itself is a `ppoll` on the one descriptor of the set: it takes nanoseconds, where `epoll_wait` rounds to
//! milliseconds. While there is something to read the kernel is asked once.

use super::lane::Interest;
use eventbench_core::host::monotonic_ns;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;

/// Readiness taken from the kernel at once.
const BATCH: usize = 512;

fn flags(interest: Interest) -> epoll::EventFlags {
    let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
    match interest {
        Interest::Read => read,
        Interest::ReadWrite => read | epoll::EventFlags::OUT,
    }
}

/// A set of sockets, each under a number of its owner's.
pub struct Epoll {
    epoll: OwnedFd,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Adds a socket. It is taken out by closing it and by [`Epoll::forget`], both.
    pub fn add(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(number),
            flags(interest),
        )?)
    }

    /// Changes what a socket is waited for.
    pub fn change(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(number),
            flags(interest),
        )?)
    }

    /// Takes a socket out that is closed.
    pub fn forget(&self, _number: u64) {
        // The kernel has done so.
    }

    /// Waits until one of them is ready or the instant has passed, and appends the numbers of those that are.
    pub fn wait(&self, until_ns: u64, ready: &mut Vec<u64>) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let mut room = [const { MaybeUninit::uninit() }; BATCH];
            match epoll::wait(&self.epoll, &mut room, Some(&now)) {
                Ok(([], _)) | Err(Errno::INTR) => {}
                Ok((events, _)) => {
                    ready.extend(events.iter().map(|e| e.data.u64()));
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            }
            let left = until_ns.saturating_sub(monotonic_ns());
            if left == 0 {
                return Ok(());
            }
            let timeout = Timespec {
                tv_sec: (left / 1_000_000_000) as _,
                tv_nsec: (left % 1_000_000_000) as _,
            };
            let mut set = [PollFd::from_borrowed_fd(self.epoll.as_fd(), PollFlags::IN)];
            match poll(&mut set, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
