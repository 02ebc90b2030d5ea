//! The netlink messages of a datagram, and what the kernel says about a request: what is not IPVS's own, and every
//! client needs.

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use crate::error::WireError;
use crate::wire::RawAttrs;

const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// One netlink message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Message type: below 16 netlink's own, above a family's.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// Sequence number of the request that it answers, or of the one that caused a notification.
    pub sequence: u32,
    /// Port of the socket that the request came from; 0 where the kernel did something by itself.
    pub port: u32,
    /// What stands behind the netlink header.
    pub payload: &'a [u8],
}

/// What a frame means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// An object.
    Data(&'a [u8]),
    /// The request succeeded, or the dump is complete.
    Done,
    /// The kernel refused.
    Refused(Refusal),
}

/// An error number of the kernel, with its own words where it gave some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The positive error number.
    pub errno: i32,
    /// The text of the extended acknowledgement (`NLMSGERR_ATTR_MSG`).
    pub text: Option<String>,
    /// Where in the request, with its header, the attribute begins that is to blame (`NLMSGERR_ATTR_OFFS`).
    pub offset: Option<u32>,
}

/// The messages of a datagram; a broken one ends it with an error.
///
/// ```
/// use ipvs_codec::reply::{Meaning, frames};
///
/// let mut datagram = [0_u8; 20]; // type 2 is NLMSG_ERROR; error 0 is an acknowledgement
/// datagram[..4].copy_from_slice(&20_u32.to_ne_bytes());
/// datagram[4..6].copy_from_slice(&2_u16.to_ne_bytes());
/// let frame = frames(&datagram).next().unwrap().unwrap();
/// assert_eq!(frame.meaning(), Ok(Meaning::Done));
/// ```
pub fn frames(mut datagram: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, WireError>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let parsed = split(datagram);
        datagram = parsed.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(parsed.map(|(frame, _)| frame).ok_or(WireError::BrokenFrame))
    })
}

fn split(datagram: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let word = |at: usize| {
        datagram
            .get(at..)?
            .first_chunk::<4>()
            .map(|bytes| u32::from_ne_bytes(*bytes))
    };
    let half = |at: usize| {
        datagram
            .get(at..)?
            .first_chunk::<2>()
            .map(|bytes| u16::from_ne_bytes(*bytes))
    };
    let length = usize::try_from(word(0)?).ok()?;
    let frame = Frame {
        kind: half(4)?,
        flags: half(6)?,
        sequence: word(8)?,
        port: word(12)?,
        payload: datagram.get(HEADER..length)?,
    };
    Some((
        frame,
        datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default(),
    ))
}

impl<'a> Frame<'a> {
    /// Whether the kernel noticed that the table changed during the dump. IPVS never does.
    #[must_use]
    pub const fn interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// What it says about the request that it answers.
    ///
    /// # Errors
    /// [`WireError::BrokenFrame`] for an error message without an error number.
    pub fn meaning(&self) -> Result<Meaning<'a>, WireError> {
        let code = || {
            let code = self
                .payload
                .first_chunk()
                .map(|bytes| i32::from_ne_bytes(*bytes));
            code.ok_or(WireError::BrokenFrame)
        };
        Ok(match self.kind {
            NLMSG_DONE | NLMSG_ERROR => match code()? {
                0 => Meaning::Done,
                negative => Meaning::Refused(Refusal {
                    errno: negative.checked_neg().unwrap_or(i32::MAX),
                    text: self.extended_text(),
                    offset: self.extended_offset(),
                }),
            },
            _ => Meaning::Data(self.payload),
        })
    }

    /// The kernel's words behind an error.
    fn extended_text(&self) -> Option<String> {
        let text = self.extended(NLMSGERR_ATTR_MSG)?;
        let text = text.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn extended_offset(&self) -> Option<u32> {
        let offset = self.extended(NLMSGERR_ATTR_OFFS)?.first_chunk()?;
        Some(u32::from_ne_bytes(*offset))
    }

    /// An attribute behind an error. The request is echoed before them: whole, or its header alone if `NLM_F_CAPPED`.
    fn extended(&self, kind: u16) -> Option<&'a [u8]> {
        if self.flags & NLM_F_ACK_TLVS == 0 || self.kind != NLMSG_ERROR {
            return None;
        }
        let echo = self.payload.get(4..)?;
        let echoed = match self.flags & NLM_F_CAPPED {
            0 => usize::try_from(u32::from_ne_bytes(*echo.first_chunk()?))
                .ok()?
                .next_multiple_of(4),
            _ => HEADER,
        };
        let mut attrs = RawAttrs::new(echo.get(echoed..)?);
        attrs
            .find(|attr| attr.kind() == kind)
            .map(|attr| attr.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    /// `ERANGE` with extended acknowledgement, recorded from Linux 6.1.
    const REFUSED: &str = "88000000020000020100000000000000deffffff1c0000001c00050001000000000000000c0100000600040001\
         00000027000100417474726962757465206661696c656420706f6c6963792076616c69646174696f6e00000800020014000000\
         280004800c000400000000000000000004000b000c000500ffffffff000000000800010004000000";
    /// Success with a warning and the request capped.
    const WARNED: &str = "50000000020000030100000000000000000000006c0000001c00050001000000000000002c0001006279746573\
         206c6566746f7665722061667465722070617273696e67206174747269627574657300";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_words_are_kept() {
        let datagram = bytes(REFUSED);
        let frame = frames(&datagram).next().unwrap().unwrap();
        let text = Some("Attribute failed policy validation".to_owned());
        assert_eq!(
            frame.meaning().unwrap(),
            Meaning::Refused(Refusal {
                errno: 34,
                text,
                offset: Some(20)
            })
        );
        let datagram = bytes(WARNED);
        let frame = frames(&datagram).next().unwrap().unwrap();
        assert_eq!(frame.meaning().unwrap(), Meaning::Done);
        assert_eq!(
            frame.extended_text().unwrap(),
            "bytes leftover after parsing attributes"
        );
    }

    #[test]
    fn no_cut_datagram_panics() {
        for datagram in [bytes(REFUSED), bytes(WARNED)] {
            for end in 0..datagram.len() {
                for frame in frames(&datagram[..end]).flatten() {
                    let _ = (frame.meaning(), frame.extended_text());
                }
            }
        }
    }

    #[test]
    fn a_header_that_lies_ends_the_datagram() {
        for length in [0_u32, 15, 17, u32::MAX] {
            let mut datagram = length.to_ne_bytes().to_vec();
            datagram.resize(16, 0);
            let read: Vec<_> = frames(&datagram).collect();
            assert!(read == [Err(WireError::BrokenFrame)], "{length}");
        }
    }
}
