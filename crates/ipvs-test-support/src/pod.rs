use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::NetNs;

/// Long enough for a slow kernel, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(3);

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

/// Starts a TCP server in a namespace, on all addresses of both families. It runs until the process ends.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve_tcp(namespace: &NetNs, pod: &str, port: u16) -> Result<()> {
    let listener = namespace
        .run(|| TcpListener::bind(("::", port)))?
        .with_context(|| format!("TCP port {port}"))?;
    let pod = pod.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if let Ok(peer) = stream.peer_addr() {
                // A client that went away is its own problem.
                let _ =
                    stream.write_all(format!("{pod} {}\n", peer.ip().to_canonical()).as_bytes());
            }
        }
    });
    Ok(())
}

/// Starts a UDP server in a namespace. It runs until the process ends.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve_udp(namespace: &NetNs, pod: &str, address: IpAddr, port: u16) -> Result<()> {
    let socket = namespace
        .run(|| UdpSocket::bind((address, port)))?
        .with_context(|| format!("UDP port {port}"))?;
    let pod = pod.to_owned();
    thread::spawn(move || {
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
