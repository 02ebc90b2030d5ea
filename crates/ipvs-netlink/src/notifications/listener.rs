//! A socket that hears of groups.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ipvs_codec::reply::{Frame, frames};
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use super::Heard;
use crate::error::Cause;

/// A link with many virtual functions takes some KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Room for some thousand notifications while whoever reads them has no CPU. With `CAP_NET_ADMIN` it is given whatever
/// `net.core.rmem_max` says.
const BUFFER: usize = 2 * 1024 * 1024;
/// Datagrams that are read at once: whoever listens has other sockets too.
const AT_ONCE: usize = 256;
/// More than fit the buffer: who is faster than this reader loses others, which is noticed again.
const MOST_DRAINED: usize = 64 * 1024;
const MSG_TRUNC: i32 = RecvFlags::TRUNC.bits().cast_signed();

#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    received: Vec<u8>,
}

impl Listener {
    pub(super) fn open(protocol: isize, groups: impl Iterator<Item = u32>) -> Result<Self, Cause> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Less room loses notifications earlier, and a loss is noticed.
        if sockopt::set_socket_recv_buffer_size_force(socket.as_fd(), BUFFER).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(socket.as_fd(), BUFFER);
        }
        for group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            received: Vec::with_capacity(RECEIVE_BYTES),
        })
    }

    /// Waits for datagrams and gives every message of those that are there to `take`.
    pub(super) fn receive(
        &mut self,
        at_most: Duration,
        mut take: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<Heard, Cause> {
        if !self.wait(at_most)? {
            return Ok(Heard::Nothing);
        }
        for read in 0..AT_ONCE {
            self.received.clear();
            let (length, from) = match self.socket.recv_from(&mut self.received, MSG_TRUNC) {
                Ok(received) => received,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) if read == 0 => return Ok(Heard::Nothing),
                    Some(Errno::AGAIN) => break,
                    Some(Errno::INTR) => continue,
                    Some(Errno::NOBUFS) => return self.drain(),
                    _ => return Err(error.into()),
                },
            };
            if is_lost(length, &self.received, &from, &mut take) {
                return Ok(Heard::Lost);
            }
        }
        Ok(Heard::Some)
    }

    /// What is left in the socket is from before the loss, and what would have corrected it may be lost, so all of it is
    /// discarded.
    fn drain(&mut self) -> Result<Heard, Cause> {
        for _ in 0..MOST_DRAINED {
            self.received.clear();
            if let Err(error) = self.socket.recv_from(&mut self.received, MSG_TRUNC) {
                match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => break,
                    Some(Errno::INTR | Errno::NOBUFS) => {}
                    _ => return Err(error.into()),
                }
            }
        }
        Ok(Heard::Lost)
    }

    /// Whether there is something to read before the time is over.
    fn wait(&self, at_most: Duration) -> Result<bool, Cause> {
        let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        // Times beyond what the kernel counts are for ever.
        let at_most = Timespec::try_from(at_most).ok();
        match poll(&mut waiting, at_most.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// Takes a datagram's messages; whether one of them cannot be read.
fn is_lost(
    length: usize,
    received: &[u8],
    from: &SocketAddr,
    take: &mut impl FnMut(Frame<'_>) -> Result<(), Cause>,
) -> bool {
    // Only the kernel is believed. Others need CAP_NET_ADMIN to send here at all.
    if from.port_number() != 0 {
        return false;
    }
    if length > received.len() {
        return true;
    }
    let mut taken = frames(received).map(|frame| take(frame?));
    taken.any(|taken| taken.is_err())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of a kind that nobody knows.
    fn message() -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(&20_u32.to_ne_bytes());
        bytes[4] = 99;
        bytes[12] = 7;
        bytes
    }

    #[test]
    fn only_the_kernel_is_believed_and_what_is_cut_off_is_lost() {
        let mut taken = Vec::new();
        let mut take = |frame: Frame<'_>| {
            taken.push((frame.kind, frame.port));
            Ok(())
        };
        let (kernel, other) = (SocketAddr::new(0, 1), SocketAddr::new(4711, 1));
        let bytes = message();
        assert!(!is_lost(20, &bytes, &other, &mut take));
        assert!(!is_lost(20, &bytes, &kernel, &mut take));
        assert!(is_lost(21, &bytes, &kernel, &mut take), "truncated");
        assert!(is_lost(19, &bytes[..19], &kernel, &mut take), "broken");
        assert_eq!(taken, [(99, 7)]);
        let mut refuse = |_: Frame<'_>| Err(Cause::Malformed("no".to_owned()));
        assert!(is_lost(20, &bytes, &kernel, &mut refuse));
    }
}
