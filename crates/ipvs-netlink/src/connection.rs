mod batches;

use std::io;
use std::time::Duration;

use ipvs_codec::reply::{Frame, Meaning, frames};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_NOOP};
use rustix::io::Errno;

use crate::error::{Cause, EPERM};
use crate::namespace::NetworkNamespace;
use crate::transport::{NetlinkSocket, Transport};

pub(crate) use self::batches::{Answer, Sent};

/// The kernel's answer to one request of a batch.
pub(crate) type Answered = Result<(), Cause>;

/// One dump chunk is at most 32 KiB, and only that large if the buffer is.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Nothing that is asked here takes seconds; loading a scheduler's module may take some.
const WAIT: Duration = Duration::from_secs(30);

/// A blocking netlink connection that sends many requests at once and matches every answer to its request.
///
/// Only a fence behind each window asks for an acknowledgement: the kernel reports errors for every message anyway, and
/// works through them in order. Waiting is bounded; nothing is lost silently.
#[derive(Debug)]
pub(crate) struct Connection<T = NetlinkSocket> {
    transport: T,
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

/// One datagram of a dump.
#[derive(Debug, Default)]
struct Chunk {
    data: bool,
    done: bool,
    interrupted: bool,
    /// The first object that could not be read.
    failed: Option<Cause>,
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

    const fn with(self, flags: u16) -> Self {
        Self {
            flags: self.flags | flags,
            ..self
        }
    }
}

/// A message that does nothing and is always acknowledged. The messages of a window are not: netlink leaves out the
/// answer, good or bad, to one that ends with `EINTR`, as stopping an IPVS daemon that has not run yet does.
const FENCE: Head = Head {
    kind: NLMSG_NOOP,
    flags: NLM_F_ACK,
};

impl Connection {
    /// Opens a socket of a netlink protocol in a network namespace, or in that of this thread.
    ///
    /// # Errors
    /// [`Cause::Io`] when the system refuses, for example `EPROTONOSUPPORT` where a module is missing.
    pub(crate) fn open(
        protocol: isize,
        namespace: Option<&NetworkNamespace>,
    ) -> Result<Self, Cause> {
        NetlinkSocket::open(protocol, namespace, WAIT).map(Self::over)
    }
}

impl<T: Transport> Connection<T> {
    pub(crate) fn over(transport: T) -> Self {
        Self {
            send: Vec::with_capacity(transport.window().bytes.saturating_mul(2)),
            receive: Vec::with_capacity(RECEIVE_BYTES),
            transport,
            sequence: 0,
        }
    }

    /// Its netlink port.
    pub(crate) fn port(&self) -> u32 {
        self.transport.port()
    }

    /// Sends every item as one request and returns one outcome for each, in order. `write` appends the payload and
    /// returns the head. A window whose answers are lost leaves those outcomes unknown, as errors; the next windows
    /// are sent all the same.
    pub(crate) fn batch<I>(
        &mut self,
        items: &[I],
        mut write: impl FnMut(&I, &mut Vec<u8>) -> Head,
    ) -> Vec<Answered> {
        let limits = self.transport.window();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let first = self.sequence.wrapping_add(1);
            self.send.clear();
            let mut count: usize = 0;
            for item in rest.iter().take(limits.messages) {
                if self.send.len() >= limits.bytes {
                    break;
                }
                self.push(|out| write(item, out));
                count = count.saturating_add(1);
            }
            self.push(|_| FENCE);
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
        self.push(|out| write(out).with(NLM_F_ACK));
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
                    Meaning::Refused(error) => return Err(error.into()),
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
        self.begin_dump(write)?;
        let answer = self.read_dump(read);
        self.reopen_after(answer)
    }

    fn read_dump(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<DumpShape, Cause> {
        let mut shape = DumpShape {
            chunks: 0,
            interrupted: false,
        };
        let mut failed = None;
        loop {
            let chunk = self.read_chunk(&mut read)?;
            shape.chunks = shape.chunks.saturating_add(usize::from(chunk.data));
            shape.interrupted |= chunk.interrupted;
            failed = failed.or(chunk.failed);
            if chunk.done {
                return failed.map_or(Ok(shape), Err);
            }
        }
    }

    /// Sends a dump request whose answer is taken chunk by chunk. Nothing else may be sent on this connection before
    /// it is complete.
    pub(crate) fn begin_dump(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Head,
    ) -> Result<(), Cause> {
        self.send.clear();
        self.push(|out| write(out).with(NLM_F_DUMP));
        let sent = self.send_all();
        self.reopen_after(sent)
    }

    /// Gives each object of the next chunk of the dump that was begun to `read`; whether it was the last.
    pub(crate) fn next_chunk(
        &mut self,
        read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let chunk = self.read_chunk(read).and_then(|chunk| match chunk.failed {
            Some(cause) => Err(cause),
            None => Ok(chunk.done),
        });
        self.reopen_after(chunk)
    }

    /// Reads the dump that was begun to its end: a socket has but one at a time.
    pub(crate) fn end_dump(&mut self) -> Result<(), Cause> {
        while !self.next_chunk(|_| Ok(()))? {}
        Ok(())
    }

    /// Reads one datagram of the dump that was requested last.
    fn read_chunk(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<Chunk, Cause> {
        let wanted = self.sequence;
        self.receive_datagram()?;
        let mut chunk = Chunk::default();
        for frame in frames(&self.receive) {
            let frame: Frame<'_> = frame?;
            if frame.sequence != wanted {
                continue;
            }
            chunk.interrupted |= frame.interrupted();
            match frame.meaning()? {
                Meaning::Data(object) => {
                    chunk.data = true;
                    if let Err(cause) = read(object) {
                        chunk.failed.get_or_insert(cause);
                    }
                }
                Meaning::Done => chunk.done = true,
                Meaning::Refused(error) => return Err(error.into()),
            }
        }
        Ok(chunk)
    }

    /// After an answer that was lost or broken the socket may hold the rest of it, or a dump that would make the next
    /// one fail with `EBUSY`: start over with a fresh one.
    fn reopen_after<A>(&mut self, answer: Result<A, Cause>) -> Result<A, Cause> {
        if matches!(&answer, Err(cause) if cause.errno().is_none()) {
            self.transport.reopen()?;
        }
        answer
    }

    /// Appends one message to the send buffer.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Head) {
        self.sequence = self.sequence.wrapping_add(1);
        push_message(&mut self.send, self.sequence, write);
    }

    /// Sends the window and reads until the fence behind it is acknowledged.
    fn exchange(&mut self, first: u32, outcomes: &mut [Answered]) -> Result<(), Cause> {
        self.send_all()?;
        let fence = self.sequence;
        loop {
            self.receive_datagram()?;
            for frame in frames(&self.receive) {
                let frame = frame?;
                if frame.sequence == fence {
                    return Ok(());
                }
                let index = frame.sequence.wrapping_sub(first);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(outcome) = outcomes.get_mut(index) else {
                    continue;
                };
                if let Meaning::Refused(error) = frame.meaning()? {
                    // nfnetlink drops all that came with a message that was not permitted, and answers nothing more.
                    if index == 0 && error.errno == EPERM {
                        let all = || Err(error.clone().into());
                        outcomes.fill_with(all);
                        return Ok(());
                    }
                    *outcome = Err(error.into());
                }
            }
        }
    }

    fn send_all(&mut self) -> Result<(), Cause> {
        loop {
            match self.transport.send(&self.send) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_datagram(&mut self) -> Result<(), Cause> {
        loop {
            self.receive.clear();
            match self.transport.receive(&mut self.receive) {
                Ok(0) => return Err(Cause::Closed),
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

/// The requests of a window whose answers did not come: those without an answer are unknown.
fn mark_unknown(outcomes: &mut [Answered], cause: Cause) {
    let mut cause = Some(cause);
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
        *outcome = Err(cause.take().unwrap_or(Cause::Lost));
    }
}

#[cfg(test)]
mod tests;
