use crate::wire::attrs;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;
const NEW_GENERATION: u8 = 15;
/// The table is the first attribute of every kind of object.
const TABLE: u16 = 1;
const GENERATION_ID: u16 = 1;
const GENERATION_PROCESS: u16 = 2;
const GENERATION_PROGRAM: u16 = 3;

/// What the kernel tells the group `NFNLGRP_NFTABLES` (7) of: each object of a transaction, and the generation behind them.
/// iptables-nft and nftables both change nf_tables; iptables-legacy and ipset tell nobody.
///
/// ```
/// use ipvs_netfilter::{NftEvent, NftObject};
///
/// let mut rule = vec![2, 0, 0, 0]; // of IPv4
/// rule.extend(8_u16.to_ne_bytes());
/// rule.extend(1_u16.to_ne_bytes()); // NFTA_RULE_TABLE
/// rule.extend(*b"nat\0");
/// let event = NftEvent::parse(0x0a06, &rule); // NFT_MSG_NEWRULE
/// assert_eq!(event, NftEvent::Changed { family: 2, table: "nat", what: NftObject::Rule });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NftEvent<'a> {
    /// An object was made, changed or removed.
    Changed {
        /// Number of the table's family: 1 for inet, 2 for IPv4, 10 for IPv6.
        family: u8,
        /// The table's name; empty if it is no text.
        table: &'a str,
        /// Which kind of object.
        what: NftObject,
    },
    /// A transaction is complete.
    Generation {
        /// Its number.
        id: Option<u32>,
        /// The process that asked for it, as the kernel numbers it in its own process namespace (Linux 4.12).
        process: Option<u32>,
        /// The first 15 bytes of its name; empty if the kernel does not say it.
        program: &'a str,
    },
    /// Anything else, or bytes that are no message of nf_tables.
    Other,
}

/// A kind of object of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NftObject {
    /// A table.
    Table,
    /// A chain.
    Chain,
    /// A rule.
    Rule,
    /// A set.
    Set,
    /// Entries of a set.
    Entries,
}

impl<'a> NftEvent<'a> {
    /// Reads an event from the type of the netlink message and the bytes behind its header. O(attributes), and no memory.
    #[must_use]
    pub fn parse(message_type: u16, bytes: &'a [u8]) -> Self {
        let [subsystem, message] = message_type.to_be_bytes();
        let Some(([family, ..], body)) = bytes.split_first_chunk::<4>() else {
            return Self::Other;
        };
        if subsystem != SUBSYSTEM {
            return Self::Other;
        }
        let what = match message {
            0 | 2 => NftObject::Table,
            3 | 5 => NftObject::Chain,
            6 | 8 => NftObject::Rule,
            9 | 11 => NftObject::Set,
            12 | 14 => NftObject::Entries,
            NEW_GENERATION => return generation(body),
            _ => return Self::Other,
        };
        let mut attrs = attrs(body).map_while(Result::ok);
        let table = attrs.find(|(kind, _)| *kind == TABLE);
        Self::Changed {
            family: *family,
            table: table.map_or("", |(_, value)| text(value)),
            what,
        }
    }
}

fn generation(body: &[u8]) -> NftEvent<'_> {
    let (mut id, mut process, mut program) = (None, None, "");
    for (kind, value) in attrs(body).map_while(Result::ok) {
        let number = || value.first_chunk().copied().map(u32::from_be_bytes);
        match kind {
            GENERATION_ID => id = number(),
            GENERATION_PROCESS => process = number(),
            GENERATION_PROGRAM => program = text(value),
            _ => {}
        }
    }
    NftEvent::Generation {
        id,
        process,
        program,
    }
}

fn text(value: &[u8]) -> &str {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put, put_str};

    const GENERATION: u16 = 0x0a0f;

    fn body(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_generation_says_who_made_it() {
        let bytes = body(|out| {
            put(out, GENERATION_ID, &7_u32.to_be_bytes());
            put(out, GENERATION_PROCESS, &1234_u32.to_be_bytes());
            put_str(out, GENERATION_PROGRAM, "iptables-nft-re");
        });
        let wanted = NftEvent::Generation {
            id: Some(7),
            process: Some(1234),
            program: "iptables-nft-re",
        };
        assert_eq!(NftEvent::parse(GENERATION, &bytes), wanted);
        let silent = NftEvent::Generation {
            id: None,
            process: None,
            program: "",
        };
        assert_eq!(NftEvent::parse(GENERATION, &body(|_| {})), silent);
    }

    #[test]
    fn whatever_comes_is_an_event_or_nothing() {
        let bytes = body(|out| put(out, TABLE, b"\xff\0"));
        let changed = |what| NftEvent::Changed {
            family: 0,
            table: "",
            what,
        };
        let (rule, entries) = (NftObject::Rule, NftObject::Entries);
        assert_eq!(NftEvent::parse(0x0a08, &bytes), changed(rule));
        assert_eq!(NftEvent::parse(0x0a0c, &[0; 4]), changed(entries));
        // Of ipset, of a trace, cut off.
        assert_eq!(NftEvent::parse(0x0606, &bytes), NftEvent::Other);
        assert_eq!(NftEvent::parse(0x0a11, &bytes), NftEvent::Other);
        assert_eq!(NftEvent::parse(0x0a06, &[2]), NftEvent::Other);
        for end in 0..bytes.len() {
            let _ = NftEvent::parse(0x0a06, &bytes[..end]);
            let _ = NftEvent::parse(GENERATION, &bytes[..end]);
        }
    }
}
