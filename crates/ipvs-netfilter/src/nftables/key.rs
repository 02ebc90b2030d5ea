use std::fmt;

use super::{Userdata, Value};

/// A field of a set's key, as `nft` names it in `type … . …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyField {
    /// `ipv4_addr`: 4 bytes, network byte order.
    Ipv4,
    /// `ipv6_addr`: 16 bytes, network byte order.
    Ipv6,
    /// `inet_proto`: one byte.
    Protocol,
    /// `inet_service`: 2 bytes, network byte order.
    Port,
    /// `mark`: 4 bytes, host byte order.
    Mark,
}

impl KeyField {
    const ALL: [Self; 5] = [
        Self::Ipv4,
        Self::Ipv6,
        Self::Protocol,
        Self::Port,
        Self::Mark,
    ];

    /// The number that user space gives the type; the kernel keeps it and does not look at it.
    const fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
        }
    }

    /// Its bytes, without padding.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Ipv4 | Self::Mark => 4,
            Self::Ipv6 => 16,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }
}

impl fmt::Display for KeyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
        })
    }
}

/// What the entries of a set are: one field, or several one behind the other.
///
/// ```
/// use ipvs_netfilter::nftables::{KeyField, KeyType, Value};
/// let key = KeyType::of(&[KeyField::Ipv4, KeyField::Protocol, KeyField::Port]).unwrap();
/// assert_eq!(key.to_string(), "ipv4_addr . inet_proto . inet_service");
/// let value = Value::concat(&[Value::ip([10, 96, 0, 10].into()), Value::byte(6), Value::port(80)]).unwrap();
/// assert_eq!(key.text(&value), "10.96.0.10 . tcp . 80");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyType {
    /// How user space names it (`NFTA_SET_KEY_TYPE`): six bits for each field.
    pub number: u32,
    /// Its bytes, each field padded to four if there are several (`NFTA_SET_KEY_LEN`).
    pub length: u32,
}

impl KeyType {
    /// Bits of a field in the number.
    const BITS: u32 = 6;
    /// Fields whose numbers fit.
    const FIELDS: usize = 5;
    /// As [`Value::MAX`].
    const BYTES: u32 = 64;

    /// A key of these fields; none if there are no fields, more than five, or more than 64 bytes.
    #[must_use]
    pub const fn of(fields: &[KeyField]) -> Option<Self> {
        let (mut number, mut length): (u32, u32) = (0, 0);
        let mut rest = fields;
        while let [field, behind @ ..] = rest {
            number = number.wrapping_shl(Self::BITS) | field.number();
            let bytes = match fields {
                [_] => field.length(),
                _ => field.length().next_multiple_of(4),
            };
            length = length.saturating_add(bytes);
            rest = behind;
        }
        let is_none = fields.is_empty() || fields.len() > Self::FIELDS;
        if is_none || length > Self::BYTES {
            return None;
        }
        Some(Self { number, length })
    }

    /// Its fields; none if user space named it otherwise than by these.
    #[must_use]
    pub fn fields(&self) -> Option<Vec<KeyField>> {
        let mut fields = Vec::new();
        let mut rest = self.number;
        while rest != 0 {
            let number = rest & !(u32::MAX.wrapping_shl(Self::BITS));
            let field = KeyField::ALL
                .into_iter()
                .find(|field| field.number() == number)?;
            fields.insert(0, field);
            rest = rest.wrapping_shr(Self::BITS);
        }
        (Self::of(&fields)? == *self).then_some(fields)
    }

    /// A value as `nft` writes it; its bytes if it is none of this type.
    #[must_use]
    pub fn text(&self, value: &Value) -> String {
        self.parts(value)
            .map_or_else(|| format!("{value:?}"), |parts| parts.join(" . "))
    }

    fn parts(&self, value: &Value) -> Option<Vec<String>> {
        let fields = self.fields()?;
        if usize::try_from(self.length).ok()? != value.len() {
            return None;
        }
        let mut rest = value.as_bytes();
        let mut parts = Vec::new();
        for field in fields {
            let length = usize::try_from(field.length()).ok()?;
            let part = Value::from_bytes(rest.get(..length)?)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            parts.push(match field {
                KeyField::Ipv4 | KeyField::Ipv6 => part.to_ip()?.to_string(),
                KeyField::Port => part.to_port()?.to_string(),
                KeyField::Mark => format!("0x{:08x}", part.to_host()?),
                KeyField::Protocol => match part.to_byte()? {
                    6 => "tcp".to_owned(),
                    17 => "udp".to_owned(),
                    132 => "sctp".to_owned(),
                    other => other.to_string(),
                },
            });
        }
        Some(parts)
    }

    /// What `nft list` wants to know of the key's byte order: 1 the host's, 2 the network's, 0 for several fields, which know
    /// their own.
    pub(super) fn userdata(&self) -> Userdata {
        let order: u32 = match self.fields().as_deref() {
            Some([KeyField::Mark]) => 1,
            Some([_]) => 2,
            _ => 0,
        };
        let data = Userdata::default();
        data.with(Userdata::SET_KEY_BYTE_ORDER, &order.to_ne_bytes())
            .unwrap_or_default()
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(fields) = self.fields() else {
            let Self { number, length } = self;
            return write!(f, "type {number} of {length} bytes");
        };
        for (at, field) in fields.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { " . " })?;
            fmt::Display::fmt(field, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_says_the_fields() {
        use KeyField::{Ipv4, Ipv6, Mark, Port, Protocol};
        for fields in [
            &[Ipv4][..],
            &[Port],
            &[Ipv6, Protocol, Port],
            &[Ipv6, Protocol, Port, Ipv6],
            &[Mark, Mark, Mark, Mark, Mark],
        ] {
            assert_eq!(KeyType::of(fields).unwrap().fields().unwrap(), fields);
        }
        assert_eq!(KeyType::of(&[Port]).unwrap().length, 2);
        assert_eq!(KeyType::of(&[Port, Port]).unwrap().length, 8);
        assert_eq!(KeyType::of(&[]), None);
        assert_eq!(KeyType::of(&[Ipv6; 5]), None);
        assert_eq!(KeyType::of(&[Port; 6]), None);
        let unknown = KeyType {
            number: 63,
            length: 4,
        };
        assert_eq!(unknown.fields(), None);
        assert_eq!(unknown.text(&Value::byte(7)), "0x07");
        assert_eq!(unknown.to_string(), "type 63 of 4 bytes");
    }

    #[test]
    fn a_mark_is_read_in_the_hosts_order() {
        let mark = KeyType::of(&[KeyField::Mark]).unwrap();
        assert_eq!(mark.text(&Value::host(0x4000)), "0x00004000");
        assert_eq!(mark.text(&Value::port(80)), "0x0050", "no mark");
    }
}
