use super::SUBSYSTEM;
use super::attributes::put_be32;

/// `NFNL_BATCH_GENID`.
const GENERATION: u16 = 1;

/// The messages around the changes of a transaction. All travel in one datagram, and the kernel makes all changes or none.
///
/// ```
/// use ipvs_netfilter::nftables::Batch;
/// let mut bytes = Vec::new();
/// Batch::Begin { generation: Some(7) }.emit(&mut bytes);
/// assert_eq!(bytes[..4], [0, 0, 0, 10]); // no family, version 0, for nf_tables
/// assert_eq!(Batch::End.message_type(), 0x11);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Before the changes.
    Begin {
        /// The generation that they are for: the kernel refuses all (`ERESTART`) if it has another one. Never 0.
        generation: Option<u32>,
    },
    /// Behind them. Without it nothing is changed.
    End,
}

impl Batch {
    /// The netlink message type (`NFNL_MSG_BATCH_…`).
    #[must_use]
    pub const fn message_type(self) -> u16 {
        match self {
            Self::Begin { .. } => 0x10,
            Self::End => 0x11,
        }
    }

    /// Appends netfilter header and attributes.
    pub fn emit(self, out: &mut Vec<u8>) {
        out.extend([0, 0, 0, SUBSYSTEM]);
        if let Self::Begin {
            generation: Some(generation),
        } = self
        {
            put_be32(out, GENERATION, generation);
        }
    }
}
