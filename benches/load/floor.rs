//! The floor: the same messages, encoded before the clock starts, 100 in each send with an acknowledgement for the last.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ipvs_codec::Request;
use ipvs_filter::iptables::{set_entry, set_name};
use ipvs_model::Operation;
use ipvs_netfilter::ipset;
use netlink_sys::{Socket, SocketAddr, protocols};

const WINDOW: usize = 100;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE_EXCLUSIVE: u16 = 0x600;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;

/// Messages of one netlink protocol, ready to send.
struct Stream {
    protocol: isize,
    /// Each with the sequence number of its last message.
    windows: Vec<(Vec<u8>, u32)>,
    in_window: usize,
    last_start: usize,
    sequence: u32,
}

/// A plan's operations as bytes, in their order.
pub(crate) struct Floor {
    streams: Vec<Stream>,
    pub(crate) messages: usize,
}

impl Floor {
    /// Encodes what a plan does by netlink. The operations of a first load change protocol only a few times.
    pub(crate) fn of(plan: &[Operation], ipvs_family: u16, link: u32) -> Result<Self> {
        let mut floor = Self {
            streams: Vec::new(),
            messages: 0,
        };
        for operation in plan {
            let mut payload = Vec::new();
            let (protocol, kind, flags) = match operation {
                Operation::AddVirtualServer { service } => {
                    Request::NewService(service).emit(&mut payload);
                    (protocols::NETLINK_GENERIC, ipvs_family, 0)
                }
                Operation::AddRealServer {
                    virtual_server,
                    real_server,
                } => {
                    Request::NewDest(virtual_server, real_server).emit(&mut payload);
                    (protocols::NETLINK_GENERIC, ipvs_family, 0)
                }
                Operation::AddMember { member } => {
                    let request = ipset::Request::Add(
                        set_name(member.set(), member.family()),
                        set_entry(member),
                    );
                    request.emit(&mut payload);
                    (protocols::NETLINK_NETFILTER, request.message_type(), 0)
                }
                Operation::BindVip { vip } => {
                    address(vip.address(), link, &mut payload)?;
                    (protocols::NETLINK_ROUTE, RTM_NEWADDR, CREATE_EXCLUSIVE)
                }
                other => bail!("not part of a first load: {other}"),
            };
            floor.push(protocol, kind, flags, &payload);
        }
        floor.streams.iter_mut().for_each(Stream::end_window);
        Ok(floor)
    }

    fn push(&mut self, protocol: isize, kind: u16, flags: u16, payload: &[u8]) {
        if self
            .streams
            .last()
            .is_none_or(|stream| stream.protocol != protocol)
        {
            if let Some(stream) = self.streams.last_mut() {
                stream.end_window();
            }
            self.streams.push(Stream {
                protocol,
                windows: Vec::new(),
                in_window: 0,
                last_start: 0,
                sequence: 0,
            });
        }
        if let Some(stream) = self.streams.last_mut() {
            stream.push(kind, flags, payload);
            self.messages += 1;
        }
    }

    /// Sends everything; the time that it took.
    pub(crate) fn replay(&self) -> Result<Duration> {
        let start = Instant::now();
        for stream in &self.streams {
            let mut socket = Socket::new(stream.protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            let mut answer = Vec::with_capacity(64 * 1024);
            for (bytes, last) in &stream.windows {
                socket.send(bytes, 0)?;
                wait(&socket, *last, &mut answer)?;
            }
        }
        Ok(start.elapsed())
    }
}

impl Stream {
    fn push(&mut self, kind: u16, flags: u16, payload: &[u8]) {
        if self.in_window == 0 {
            self.windows.push((Vec::new(), 0));
        }
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some((bytes, last)) = self.windows.last_mut() {
            self.last_start = bytes.len();
            *last = sequence;
            let length = u32::try_from(16 + payload.len().next_multiple_of(4)).unwrap_or(u32::MAX);
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend((flags | REQUEST).to_ne_bytes());
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.in_window += 1;
        if self.in_window == WINDOW {
            self.end_window();
        }
    }

    fn end_window(&mut self) {
        if self.in_window > 0
            && let Some((bytes, _)) = self.windows.last_mut()
            && let Some(flags) = bytes
                .get_mut(self.last_start + 6..)
                .and_then(<[u8]>::first_chunk_mut)
        {
            *flags = (u16::from_ne_bytes(*flags) | ACK).to_ne_bytes();
        }
        self.in_window = 0;
    }
}

/// Reads until message `last` is acknowledged; any error is one.
fn wait(socket: &Socket, last: u32, answer: &mut Vec<u8>) -> Result<()> {
    loop {
        answer.clear();
        socket.recv(answer, 0)?;
        let half = |at: usize| {
            answer
                .get(at..)?
                .first_chunk()
                .map(|bytes| u16::from_ne_bytes(*bytes))
        };
        let word = |at: usize| {
            answer
                .get(at..)?
                .first_chunk()
                .map(|bytes| u32::from_ne_bytes(*bytes))
        };
        ensure!(half(4) == Some(NLMSG_ERROR), "not an acknowledgement");
        let (sequence, code) = word(8).zip(word(16)).context("a short answer")?;
        ensure!(
            code == 0,
            "message {sequence} was refused: {}",
            code.cast_signed()
        );
        if sequence == last {
            return Ok(());
        }
    }
}

/// `struct ifaddrmsg`, `IFA_LOCAL` and `IFA_ADDRESS`.
fn address(address: IpAddr, link: u32, out: &mut Vec<u8>) -> Result<()> {
    let IpAddr::V4(v4) = address else {
        bail!("the generated cluster is IPv4")
    };
    out.extend([2, 32, 0, 0]);
    out.extend(link.to_ne_bytes());
    for kind in [2_u16, 1] {
        out.extend(8_u16.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(v4.octets());
    }
    Ok(())
}
