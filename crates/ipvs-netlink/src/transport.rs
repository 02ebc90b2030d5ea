use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::{RecvFlags, sockopt};

use crate::error::Cause;
use crate::namespace::NetworkNamespace;

/// With it `recv` returns the true length of a datagram, whatever fits the buffer.
const MSG_TRUNC: i32 = RecvFlags::TRUNC.bits().cast_signed();
/// What the kernel charges a socket for an unread error: 277 of them fit the default receive buffer of 208 KiB, and one
/// with the kernel's own words is larger. 100 for the default.
const CHARGED_FOR_AN_ERROR: usize = 2048;

/// How much may be sent before the answers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// All of them may fail, and all errors must fit the receive buffer.
    pub(crate) messages: usize,
    /// One send must fit the send buffer.
    pub(crate) bytes: usize,
    /// A longer datagram is refused (`EMSGSIZE`).
    pub(crate) longest: usize,
}

impl Window {
    const fn of_buffers(send: usize, receive: usize) -> Self {
        let messages = receive / CHARGED_FOR_AN_ERROR;
        let bytes = send / 3;
        Self {
            messages: if messages == 0 { 1 } else { messages },
            bytes: if bytes == 0 { 1 } else { bytes },
            // Netlink keeps 32 bytes for itself.
            longest: send.saturating_sub(32),
        }
    }
}

/// Datagrams to and from the kernel. The connection above it knows what they mean and what to do about errors.
pub(crate) trait Transport {
    /// Sends one datagram.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits for a datagram, appends it, and returns its true length, which is more than was appended if it was cut.
    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize>;
    /// Starts over: answers that are still on their way are for nobody.
    fn reopen(&mut self) -> Result<(), Cause>;
    /// How much may be sent at once.
    fn window(&self) -> Window;
    /// Its netlink port, which starting over changes.
    fn port(&self) -> u32;
}

/// A netlink socket, closed on exec.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    protocol: isize,
    namespace: Option<NetworkNamespace>,
    wait: Duration,
    socket: Socket,
    window: Window,
}

impl NetlinkSocket {
    /// Opens a socket of a netlink protocol in a network namespace, or in that of this thread.
    pub(crate) fn open(
        protocol: isize,
        namespace: Option<&NetworkNamespace>,
        wait: Duration,
    ) -> Result<Self, Cause> {
        let socket = open_in(protocol, namespace, wait)?;
        Ok(Self {
            protocol,
            namespace: namespace.cloned(),
            wait,
            window: window_of(&socket)?,
            socket,
        })
    }
}

impl Transport for NetlinkSocket {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0).map(|_| ())
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.socket.recv(into, MSG_TRUNC)
    }

    fn reopen(&mut self) -> Result<(), Cause> {
        self.socket = open_in(self.protocol, self.namespace.as_ref(), self.wait)?;
        Ok(())
    }

    fn window(&self) -> Window {
        self.window
    }

    fn port(&self) -> u32 {
        let mut address = SocketAddr::new(0, 0);
        // It fails on no open socket.
        let _ = self.socket.get_address(&mut address);
        address.port_number()
    }
}

fn open_in(
    protocol: isize,
    namespace: Option<&NetworkNamespace>,
    wait: Duration,
) -> Result<Socket, Cause> {
    match namespace {
        Some(namespace) => namespace.run(|| open_socket(protocol, wait))?,
        None => open_socket(protocol, wait),
    }
}

fn open_socket(protocol: isize, wait: Duration) -> Result<Socket, Cause> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // Old kernels know neither option; what they give is an error's text and shorter errors.
    let _ = (socket.set_ext_ack(true), socket.set_cap_ack(true));
    if protocol == NETLINK_ROUTE {
        // Lets the kernel (5.0) leave out of a dump what the request does not ask for. Older ones send everything.
        let _ = socket.set_netlink_get_strict_chk(true);
    }
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Recv, Some(wait))
        .map_err(io::Error::from)?;
    Ok(socket)
}

fn window_of(socket: &Socket) -> Result<Window, Cause> {
    let send = sockopt::socket_send_buffer_size(socket.as_fd()).map_err(io::Error::from)?;
    let receive = sockopt::socket_recv_buffer_size(socket.as_fd()).map_err(io::Error::from)?;
    Ok(Window::of_buffers(send, receive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_fits_the_buffers() {
        let default = Window::of_buffers(212_992, 212_992);
        assert_eq!((default.messages, default.bytes), (104, 70_997));
        assert_eq!(default.longest, 212_960);
        assert_eq!(Window::of_buffers(0, 0).messages, 1);
    }
}
