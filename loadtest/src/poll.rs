//! Readiness of many sockets at once: a thin layer over epoll that the client and the bare server
//! share. It knows sockets by a token and nothing of what they carry.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

/// Events taken by one system call.
const EVENTS_MAX: usize = 1024;

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, as long as there is something.
    Read,
    /// The same, or room to write.
    ReadWrite,
    /// Every change of either, once.
    Changes,
}

/// A set of watched sockets. A socket leaves the set when it is closed.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll").finish_non_exhaustive()
    }
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Watches a socket, which must not block.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let (data, flags) = (EventData::new_u64(token), flags(interest));
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// Changes what a socket is watched for.
    ///
    /// # Errors
    /// The operating system's.
    pub fn change(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let (data, flags) = (EventData::new_u64(token), flags(interest));
        Ok(epoll::modify(&self.epoll, socket, data, flags)?)
    }

    /// Watches a socket no more.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits until a socket is ready, and returns how many are. A signal ends the wait early.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.events.clear();
        let events = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, timeout.as_ref()) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The token of a ready socket, and whether it has room to write.
    #[must_use]
    pub fn ready(&self, index: usize) -> (u64, bool) {
        let event = self.events[index];
        let (data, flags) = (event.data, event.flags);
        (data.u64(), flags.contains(EventFlags::OUT))
    }
}

const fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Read => EventFlags::IN,
        Interest::ReadWrite => EventFlags::IN.union(EventFlags::OUT),
        Interest::Changes => EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET),
    }
}
