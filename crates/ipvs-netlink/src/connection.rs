use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use crate::error::Cause;
use crate::reply::{Frame, Meaning, frames};

/// The kernel's answer to one request of a batch.
pub type Outcome = Result<(), Cause>;

/// Messages that are sent at once. The default receive buffer holds the errors of 277 messages, should all fail.
const WINDOW_MESSAGES: usize = 100;
/// Bytes that are sent at once; the default send buffer holds about 208 KiB.
const WINDOW_BYTES: usize = 64 * 1024;
/// One dump chunk is at most 32 KiB, and only that large if the buffer is.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Nothing that is asked here takes seconds; loading a scheduler's module may take some.
const WAIT: Duration = Duration::from_secs(30);

/// With it `recv` returns the true length of a datagram, whatever fits the buffer.
const MSG_TRUNC: i32 = RecvFlags::TRUNC.bits().cast_signed();

/// A blocking netlink socket that sends many requests at once and matches every answer to its request.
///
/// Only the last message of a window asks for an acknowledgement: the kernel reports errors for every message anyway,
/// and works through them in order. Waiting is bounded; nothing is lost silently.
#[derive(Debug)]
pub(crate) struct Connection {
    protocol: isize,
    socket: Socket,
    sequence: u32,
    send: Vec<u8>,
    receive: Vec<u8>,
}

/// How the parts of a dump arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DumpShape {
    /// Datagrams with data: one was read in one go by the kernel, more were not.
    pub(crate) chunks: usize,
    /// The kernel itself says that the table changed meanwhile.
    pub(crate) interrupted: bool,
}

/// Netlink type and flags of a request that was just written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
}

impl Head {
    pub(crate) const fn new(kind: u16) -> Self {
        Self { kind, flags: 0 }
    }
}

impl Connection {
    /// Opens a socket of a netlink protocol in this thread's network namespace. The socket is closed on exec.
    ///
    /// # Errors
    /// [`Cause::Io`] when the system refuses, for example `EPROTONOSUPPORT` where a module is missing.
    pub(crate) fn open(protocol: isize) -> Result<Self, Cause> {
        Ok(Self {
            protocol,
            socket: open_socket(protocol)?,
            sequence: 0,
            send: Vec::with_capacity(WINDOW_BYTES.saturating_mul(2)),
            receive: Vec::with_capacity(RECEIVE_BYTES),
        })
    }

    /// Sends every item as one request and returns one outcome for each, in order. `write` appends the payload and
    /// returns the head. A window whose answers are lost leaves those outcomes unknown, as errors; the next windows
    /// are sent all the same.
    pub(crate) fn batch<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&T, &mut Vec<u8>) -> Head,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let first = self.sequence.wrapping_add(1);
            self.send.clear();
            let mut count: usize = 0;
            let mut last = 0;
            for item in rest.iter().take(WINDOW_MESSAGES) {
                if self.send.len() >= WINDOW_BYTES {
                    break;
                }
                last = self.send.len();
                self.push(|out| write(item, out));
                count = count.saturating_add(1);
            }
            set_ack(&mut self.send, last);
            let start = outcomes.len();
            outcomes.extend((0..count).map(|_| Ok(())));
            let window = outcomes.get_mut(start..).unwrap_or_default();
            let exchanged = self.exchange(first, window);
            if let Err(cause) = self.reopen_after(exchanged) {
                mark_unknown(window, cause);
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        outcomes
    }

    /// Sends one request and gives each object of the answer to `read`.
    pub(crate) fn request(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Head,
        read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        self.send.clear();
        self.push(write);
        set_ack(&mut self.send, 0);
        let answer = self.read_answer(read);
        self.reopen_after(answer)
    }

    fn read_answer(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        self.send_all()?;
        let wanted = self.sequence;
        loop {
            self.receive_datagram()?;
            for frame in frames(&self.receive) {
                let frame = frame?;
                if frame.sequence != wanted {
                    continue;
                }
                match frame.meaning()? {
                    Meaning::Data(object) => read(object)?,
                    Meaning::Done => return Ok(()),
                    Meaning::Refused(error) => return Err(Cause::Kernel(error)),
                }
            }
        }
    }

    /// Sends a dump request and gives each object to `read`. An object that `read` refuses does not end the dump, so
    /// that the socket stays usable; the first error is returned after it.
    pub(crate) fn dump(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Head,
        read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<DumpShape, Cause> {
        self.send.clear();
        self.push(|out| {
            let head = write(out);
            Head {
                flags: head.flags | NLM_F_DUMP,
                ..head
            }
        });
        let answer = self.read_dump(read);
        self.reopen_after(answer)
    }

    fn read_dump(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<DumpShape, Cause> {
        self.send_all()?;
        let wanted = self.sequence;
        let mut shape = DumpShape {
            chunks: 0,
            interrupted: false,
        };
        let mut failed = None;
        loop {
            self.receive_datagram()?;
            let mut data = false;
            for frame in frames(&self.receive) {
                let frame: Frame<'_> = frame?;
                if frame.sequence != wanted {
                    continue;
                }
                shape.interrupted |= frame.interrupted();
                match frame.meaning()? {
                    Meaning::Data(object) => {
                        data = true;
                        if let Err(cause) = read(object) {
                            failed.get_or_insert(cause);
                        }
                    }
                    Meaning::Done => {
                        shape.chunks = shape.chunks.saturating_add(usize::from(data));
                        return failed.map_or(Ok(shape), Err);
                    }
                    Meaning::Refused(error) => return Err(Cause::Kernel(error)),
                }
            }
            shape.chunks = shape.chunks.saturating_add(usize::from(data));
        }
    }

    /// After an answer that was lost or broken the socket may hold the rest of it, or a dump that would make the next
    /// one fail with `EBUSY`: start over with a fresh one.
    fn reopen_after<T>(&mut self, answer: Result<T, Cause>) -> Result<T, Cause> {
        if matches!(&answer, Err(cause) if cause.errno().is_none()) {
            self.socket = open_socket(self.protocol)?;
        }
        answer
    }

    /// Appends one message to the send buffer.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Head) {
        self.sequence = self.sequence.wrapping_add(1);
        push_message(&mut self.send, self.sequence, write);
    }

    /// Sends the window and reads until its last message is acknowledged.
    fn exchange(&mut self, first: u32, outcomes: &mut [Outcome]) -> Result<(), Cause> {
        self.send_all()?;
        let last = self.sequence;
        loop {
            self.receive_datagram()?;
            for frame in frames(&self.receive) {
                let frame = frame?;
                let index =
                    usize::try_from(frame.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let Some(outcome) = outcomes.get_mut(index) else {
                    continue;
                };
                match frame.meaning()? {
                    Meaning::Data(_) => continue,
                    Meaning::Done => {}
                    Meaning::Refused(error) => *outcome = Err(Cause::Kernel(error)),
                }
                if frame.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    fn send_all(&self) -> Result<(), Cause> {
        loop {
            match self.socket.send(&self.send, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_datagram(&mut self) -> Result<(), Cause> {
        loop {
            self.receive.clear();
            match self.socket.recv(&mut self.receive, MSG_TRUNC) {
                Ok(length) if length > self.receive.len() => return Err(Cause::Truncated),
                Ok(_) => return Ok(()),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::NOBUFS) => return Err(Cause::Lost),
                    Some(Errno::AGAIN) => return Err(Cause::TimedOut(WAIT)),
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

fn open_socket(protocol: isize) -> Result<Socket, Cause> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // Old kernels know neither option; what they give is an error's text and shorter errors.
    let _ = (socket.set_ext_ack(true), socket.set_cap_ack(true));
    if protocol == NETLINK_ROUTE {
        // Lets the kernel (5.0) leave out of a dump what the request does not ask for. Older ones send everything.
        let _ = socket.set_netlink_get_strict_chk(true);
    }
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Recv, Some(WAIT))
        .map_err(io::Error::from)?;
    Ok(socket)
}

/// Appends a netlink header and what `write` appends behind it.
fn push_message(out: &mut Vec<u8>, sequence: u32, write: impl FnOnce(&mut Vec<u8>) -> Head) {
    let start = out.len();
    out.extend([0; 16]);
    let head = write(out);
    out.resize(out.len().next_multiple_of(4), 0);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    let mut header = [0; 16];
    let fields = [
        &length.to_ne_bytes()[..],
        &head.kind.to_ne_bytes(),
        &(head.flags | NLM_F_REQUEST).to_ne_bytes(),
        &sequence.to_ne_bytes(),
    ];
    for (place, byte) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *place = header;
    }
}

/// Makes the message at `start` ask for an acknowledgement.
fn set_ack(out: &mut [u8], start: usize) {
    let flags = out
        .get_mut(start..)
        .and_then(|message| message.get_mut(6..8))
        .and_then(|flags| flags.first_chunk_mut());
    if let Some(flags) = flags {
        *flags = (u16::from_ne_bytes(*flags) | NLM_F_ACK).to_ne_bytes();
    }
}

/// The requests of a window whose answers did not come: those without an answer are unknown.
fn mark_unknown(outcomes: &mut [Outcome], cause: Cause) {
    let mut cause = Some(cause);
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
        *outcome = Err(cause.take().unwrap_or(Cause::Lost));
    }
}
