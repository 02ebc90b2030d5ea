use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a register holds, a rule compares with, and a set has for a key: 1 to 64 bytes.
///
/// The kernel compares bytes, and the expression that loads the register decides their order: addresses and ports come from
/// the packet in network byte order, marks and the state of a connection are in the host's.
///
/// ```
/// use ipvs_netfilter::nftables::Value;
///
/// let key = Value::concat(&[Value::ip([10, 96, 0, 10].into()), Value::byte(6), Value::port(80)]).unwrap();
/// assert_eq!(key.as_bytes(), [10, 96, 0, 10, 6, 0, 0, 0, 0, 80, 0, 0]); // each part takes whole registers
/// assert_eq!(Value::host(0x4000).as_bytes(), 0x4000_u32.to_ne_bytes());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// Zeros behind the length.
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Value {
    /// The longest value, in bytes (`NFT_DATA_VALUE_MAXLEN`).
    pub const MAX: usize = 64;

    /// A value of these bytes; none if they are none or too many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len())
            .ok()
            .filter(|length| *length > 0)?;
        let mut whole = [0; Self::MAX];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self {
            bytes: whole,
            length,
        })
    }

    fn of<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(N > 0 && N <= Self::MAX) };
        let mut whole = [0; Self::MAX];
        for (place, byte) in whole.iter_mut().zip(bytes) {
            *place = byte;
        }
        Self {
            bytes: whole,
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            length: N as u8,
        }
    }

    /// An address, in network byte order.
    #[must_use]
    pub fn ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of(address.octets()),
            IpAddr::V6(address) => Self::of(address.octets()),
        }
    }

    /// A port, in network byte order.
    #[must_use]
    pub fn port(port: u16) -> Self {
        Self::of(port.to_be_bytes())
    }

    /// One byte: a protocol number.
    #[must_use]
    pub fn byte(byte: u8) -> Self {
        Self::of([byte])
    }

    /// A number in host byte order: a mark, the state of a connection, a type of address.
    #[must_use]
    pub fn host(number: u32) -> Self {
        Self::of(number.to_ne_bytes())
    }

    /// A concatenation; each part is padded with zeros to four bytes. None if it is longer than a value can be.
    #[must_use]
    pub fn concat(parts: &[Self]) -> Option<Self> {
        if let [part] = parts {
            return Some(*part);
        }
        let mut whole = [0; Self::MAX];
        let mut at: usize = 0;
        for part in parts {
            let end = at.checked_add(part.len().next_multiple_of(4))?;
            let place = whole.get_mut(at..end)?;
            for (place, byte) in place.iter_mut().zip(part.as_bytes()) {
                *place = *byte;
            }
            at = end;
        }
        let length = u8::try_from(at).ok().filter(|length| *length > 0)?;
        Some(Self {
            bytes: whole,
            length,
        })
    }

    /// The first `bytes` bytes; none if it has fewer.
    #[must_use]
    pub fn prefix(&self, bytes: usize) -> Option<Self> {
        Self::from_bytes(self.as_bytes().get(..bytes)?)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// How many bytes it has; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.length.into()
    }

    fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.as_bytes().try_into().ok()
    }

    /// As an address; none if it has neither 4 nor 16 bytes.
    #[must_use]
    pub fn to_ip(&self) -> Option<IpAddr> {
        let ipv4 = || Some(Ipv4Addr::from(self.array::<4>()?).into());
        ipv4().or_else(|| Some(Ipv6Addr::from(self.array::<16>()?).into()))
    }

    /// As a port, in network byte order; none if it has not two bytes.
    #[must_use]
    pub fn to_port(&self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// As one byte; none if it has more.
    #[must_use]
    pub fn to_byte(&self) -> Option<u8> {
        self.array().map(u8::from_ne_bytes)
    }

    /// As a number in host byte order; none if it has not four bytes.
    #[must_use]
    pub fn to_host(&self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_byte_order() {
        assert_eq!(Value::port(0x0102).as_bytes(), [1, 2]);
        assert_eq!(Value::ip([1, 2, 3, 4].into()).as_bytes(), [1, 2, 3, 4]);
        let host = if cfg!(target_endian = "big") {
            [0, 0, 0x40, 1]
        } else {
            [1, 0x40, 0, 0]
        };
        assert_eq!(Value::host(0x4001).as_bytes(), host);
        assert_eq!(Value::host(0x4001).to_host(), Some(0x4001));
        assert_eq!(Value::port(80).to_port(), Some(80));
        assert_eq!(Value::byte(6).to_byte(), Some(6));
        for address in ["10.0.0.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Value::ip(address).to_ip(), Some(address));
        }
        assert_eq!(Value::port(80).to_ip(), None);
    }

    #[test]
    fn a_concatenation_pads_and_is_bounded() {
        let address = Value::ip([0xff; 16].into());
        assert_eq!(Value::concat(&[address; 4]).unwrap().len(), 64);
        assert_eq!(Value::concat(&[address; 5]), None);
        assert_eq!(Value::concat(&[]), None);
        assert_eq!(
            Value::concat(&[Value::port(1)]),
            Some(Value::port(1)),
            "alone it is not padded"
        );
        assert_eq!(Value::from_bytes(&[0; 65]), None);
        assert_eq!(Value::from_bytes(&[]), None);
    }
}
