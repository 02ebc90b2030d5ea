//! Numbers and addresses as the C library reads them.

use std::net::Ipv4Addr;

/// A decimal number in a range: white space and a sign may stand before it, nothing behind it.
pub(crate) fn decimal(text: &str, least: i64, most: i64) -> Option<i64> {
    let number = text.trim_start().parse().ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// The digits that a text starts with; 0 without any.
pub(crate) fn leading_digits(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    sign * digits[..end].parse::<i64>().unwrap_or(0)
}

/// An IPv4 address of one to four numbers, each decimal, octal (`0…`) or hexadecimal (`0x…`); the last one fills the
/// bytes that are left.
pub(crate) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(part).collect::<Option<_>>()?;
    let (last, front) = numbers.split_last()?;
    if front.len() > 3 || front.iter().any(|number| *number > 255) {
        return None;
    }
    let mut bits: u32 = 0;
    for (at, number) in front.iter().enumerate() {
        bits |= number << (24 - 8 * at);
    }
    let left = 32 - 8 * front.len();
    if left < 32 && *last >= 1 << left {
        return None;
    }
    Some(Ipv4Addr::from_bits(bits | last))
}

fn part(text: &str) -> Option<u32> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtol_does() {
        assert_eq!(decimal(" +5", 0, 10), Some(5));
        assert_eq!(decimal("-1", 0, 10), None);
        assert_eq!(decimal("5 ", 0, 10), None);
        assert_eq!(decimal("", 0, 10), None);
        assert_eq!((leading_digits("64x"), leading_digits("x")), (64, 0));
    }

    #[test]
    fn addresses_are_read_as_inet_aton_does() {
        let read = |text: &str| ipv4(text).map(|address| address.to_string());
        assert_eq!(read("10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(read("127.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(read("0x0a000001").as_deref(), Some("10.0.0.1"));
        assert_eq!(read("010.1.2.3").as_deref(), Some("8.1.2.3"));
        assert_eq!(read("10.0.0.256"), None);
        assert_eq!(read("1.2.3.4.5"), None);
        assert_eq!(read("a.b"), None);
        assert_eq!(read("10..1"), None);
    }
}
