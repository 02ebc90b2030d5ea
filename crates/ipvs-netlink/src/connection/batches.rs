//! Batches of nfnetlink: a datagram each, whose messages the kernel takes together or not at all.

use ipvs_codec::reply::{Meaning, Refusal, frames};

use super::{Connection, FENCE, Head};
use crate::error::Cause;
use crate::transport::Transport;

/// A batch that was sent: the number of its first message, which begins it, and how many follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    first: u32,
    items: usize,
}

/// What the kernel refused of a batch; nothing if it took all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    /// The batch as a whole.
    pub(crate) whole: Option<Refusal>,
    /// Items by their place. The kernel goes on behind the first one, to tell all.
    pub(crate) items: Vec<(usize, Refusal)>,
}

impl Answer {
    pub(crate) const fn is_success(&self) -> bool {
        self.whole.is_none() && self.items.is_empty()
    }
}

impl<T: Transport> Connection<T> {
    /// How many messages may be sent before the answers are read, and the bytes of a datagram: many, and at most.
    pub(crate) fn limits(&self) -> crate::transport::Window {
        self.transport.window()
    }

    /// Writes a batch, and returns how long it is. It is not sent before [`send_written`](Self::send_written).
    pub(crate) fn write_batch<I>(
        &mut self,
        begin: impl FnOnce(&mut Vec<u8>) -> Head,
        items: &[I],
        mut write: impl FnMut(&I, &mut Vec<u8>) -> Head,
        end: impl FnOnce(&mut Vec<u8>) -> Head,
    ) -> (Sent, usize) {
        self.send.clear();
        self.push(begin);
        let first = self.sequence;
        for item in items {
            self.push(|out| write(item, out));
        }
        self.push(end);
        let items = items.len();
        (Sent { first, items }, self.send.len())
    }

    /// Sends what was written last. The kernel has worked through it when this returns; its answers are read later.
    pub(crate) fn send_written(&mut self) -> Result<(), Cause> {
        let sent = self.send_all();
        self.reopen_after(sent)
    }

    /// Reads what the kernel has to say of the batches that were sent since the last time.
    pub(crate) fn answers(&mut self, sent: &[Sent]) -> Result<Vec<Answer>, Cause> {
        self.send.clear();
        self.push(|_| FENCE);
        let answers = self.read_answers(sent);
        self.reopen_after(answers)
    }

    fn read_answers(&mut self, sent: &[Sent]) -> Result<Vec<Answer>, Cause> {
        self.send_all()?;
        let fence = self.sequence;
        let mut answers = vec![Answer::default(); sent.len()];
        loop {
            self.receive_datagram()?;
            for frame in frames(&self.receive) {
                let frame = frame?;
                if frame.sequence == fence {
                    return Ok(answers);
                }
                let Meaning::Refused(refusal) = frame.meaning()? else {
                    continue;
                };
                let of_one = sent.iter().zip(&mut answers).find_map(|(sent, answer)| {
                    let place = frame.sequence.wrapping_sub(sent.first);
                    let place = usize::try_from(place).ok()?;
                    (place <= sent.items).then_some((place, answer))
                });
                // The kernel says first what it makes of a message, and an answer to another request is nobody's.
                match of_one {
                    Some((0, answer)) => {
                        answer.whole.get_or_insert(refusal);
                    }
                    Some((place, answer)) => answer.items.push((place.saturating_sub(1), refusal)),
                    None => {}
                }
            }
        }
    }
}
