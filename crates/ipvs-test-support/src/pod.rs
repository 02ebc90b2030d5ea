use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, listen, socket};

use crate::NetNs;

/// Long enough for a slow kernel on a busy machine, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server says to whoever asks: who it is, and whom it saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The name of the pod that answered.
    pub pod: String,
    /// The address that it saw the request come from.
    pub client: IpAddr,
}

impl Answer {
    fn parse(text: &str) -> Result<Self> {
        let (pod, client) = text
            .trim()
            .split_once(' ')
            .with_context(|| format!("not an answer: {text:?}"))?;
        Ok(Self {
            pod: pod.to_owned(),
            client: client.parse()?,
        })
    }
}

/// Starts a TCP server in a namespace, on all addresses of both families. It ends with the namespace.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve_tcp(namespace: &NetNs, pod: &str, port: u16) -> Result<()> {
    let listener = namespace
        .run(|| TcpListener::bind(("::", port)))?
        .with_context(|| format!("TCP port {port}"))?;
    answer_connections(namespace, pod, listener);
    Ok(())
}

fn answer_connections(namespace: &NetNs, pod: &str, listener: TcpListener) {
    let pod = pod.to_owned();
    namespace.serve(listener, move |listener| {
        loop {
            match listener.accept() {
                Ok((mut stream, peer)) => {
                    let text = format!("{pod} {}\n", peer.ip().to_canonical());
                    // A client that went away is its own problem.
                    let _ = stream.write_all(text.as_bytes());
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
    });
}

/// Starts a UDP server in a namespace. It ends with the namespace.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve_udp(namespace: &NetNs, pod: &str, address: IpAddr, port: u16) -> Result<()> {
    let socket = namespace
        .run(|| UdpSocket::bind((address, port)))?
        .with_context(|| format!("UDP port {port}"))?;
    let pod = pod.to_owned();
    namespace.serve(socket, move |socket| {
        let mut request = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut request) {
            let _ = socket.send_to(
                format!("{pod} {}\n", peer.ip().to_canonical()).as_bytes(),
                peer,
            );
        }
    });
    Ok(())
}

/// Asks a TCP server from a namespace.
///
/// # Errors
/// When it refuses or does not answer in time.
pub fn ask_tcp(namespace: &NetNs, server: SocketAddr) -> Result<Answer> {
    namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Answer::parse(&text)
    })?
}

/// Asks a UDP server from a namespace, from a fresh port.
///
/// # Errors
/// When it does not answer in time.
pub fn ask_udp(namespace: &NetNs, server: SocketAddr) -> Result<Answer> {
    namespace.run(|| {
        let any: IpAddr = if server.is_ipv4() {
            [0, 0, 0, 0].into()
        } else {
            [0_u16; 8].into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"who are you?\n")?;
        let mut text = [0; 512];
        let length = socket.recv(&mut text)?;
        Answer::parse(std::str::from_utf8(text.get(..length).unwrap_or_default())?)
    })?
}

/// What is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, one-to-one.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As manifests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn sctp(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    Ok(socket(family, SocketType::STREAM, Some(ipproto::SCTP))?)
}

/// Starts a server in a namespace, on one address. It ends with the namespace.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(namespace: &NetNs, pod: &str, protocol: Protocol, address: SocketAddr) -> Result<()> {
    let listener = match protocol {
        Protocol::Udp => return serve_udp(namespace, pod, address.ip(), address.port()),
        Protocol::Tcp => namespace.run(|| TcpListener::bind(address))??,
        Protocol::Sctp => namespace.run(|| {
            let socket = sctp(address)?;
            bind(&socket, &address)?;
            listen(&socket, 64)?;
            // Accepting, reading and writing are the same.
            anyhow::Ok(TcpListener::from(socket))
        })??,
    };
    answer_connections(namespace, pod, listener);
    Ok(())
}

/// Asks a server from a namespace, for at most `patience`.
///
/// # Errors
/// When it refuses or does not answer in time.
pub fn ask(
    namespace: &NetNs,
    protocol: Protocol,
    server: SocketAddr,
    patience: Duration,
) -> Result<Answer> {
    namespace.run(|| {
        let mut text = [0; 512];
        let length = match protocol {
            Protocol::Tcp => {
                let mut stream = TcpStream::connect_timeout(&server, patience)?;
                stream.set_read_timeout(Some(patience))?;
                stream.read(&mut text)?
            }
            Protocol::Sctp => {
                let socket = sctp(server)?;
                set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
                set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
                connect(&socket, &server)?;
                TcpStream::from(socket).read(&mut text)?
            }
            Protocol::Udp => {
                let any: IpAddr = match server.ip() {
                    IpAddr::V4(_) => [0, 0, 0, 0].into(),
                    IpAddr::V6(_) => [0_u16; 8].into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(server)?;
                socket.set_read_timeout(Some(patience))?;
                socket.send(b"who are you?\n")?;
                socket.recv(&mut text)?
            }
        };
        Answer::parse(std::str::from_utf8(text.get(..length).unwrap_or_default())?)
    })?
}
