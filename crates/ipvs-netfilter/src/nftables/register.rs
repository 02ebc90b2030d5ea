use std::fmt;

/// One of sixteen registers of four bytes. A longer value begins in one and goes on in the next.
///
/// The kernel has two ways to number them, of 16 bytes (1 to 4) and of 4 (8 to 23); both are read, and written is what the
/// kernel writes: the shorter number where there is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(u8);

impl Register {
    /// The first one.
    pub const FIRST: Self = Self(0);
    const COUNT: u8 = 16;

    /// The register behind a value of so many bytes that begins here; none behind the last.
    ///
    /// ```
    /// use ipvs_netfilter::nftables::Register;
    /// let port = Register::FIRST.after(16).unwrap(); // behind an IPv6 address
    /// assert_eq!(format!("{port:?}"), "reg 4");
    /// ```
    #[must_use]
    pub fn after(self, bytes: usize) -> Option<Self> {
        let next = usize::from(self.0).checked_add(bytes.div_ceil(4))?;
        let next = u8::try_from(next).ok()?;
        (next < Self::COUNT).then_some(Self(next))
    }

    pub(super) fn number(self) -> u32 {
        let index = u32::from(self.0);
        match index.checked_rem(4) {
            Some(0) => index.wrapping_shr(2).saturating_add(1),
            _ => index.saturating_add(8),
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        let index = match number {
            1..=4 => number.wrapping_sub(1).wrapping_shl(2),
            8..24 => number.wrapping_sub(8),
            _ => return None,
        };
        u8::try_from(index).ok().map(Self)
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reg {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_are_read_and_the_kernels_is_written() {
        for index in 0..16 {
            let register = Register(index);
            assert_eq!(Register::from_number(register.number()), Some(register));
            assert_eq!(Register::from_number(8 + u32::from(index)), Some(register));
        }
        assert_eq!(Register(4).number(), 2);
        assert_eq!(Register(5).number(), 13);
        for none in [0, 5, 7, 24, u32::MAX] {
            assert_eq!(Register::from_number(none), None);
        }
        assert_eq!(Register::FIRST.after(64), None);
        assert_eq!(Register::FIRST.after(1), Some(Register(1)));
    }
}
