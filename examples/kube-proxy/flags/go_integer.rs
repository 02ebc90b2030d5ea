//! Whole numbers as Go's flags read them: `0x1F`, `0b101`, `0o17` and `017` too, and `1_000`.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A number in a range.
pub(crate) fn integer<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    let number = parse(text).and_then(|number| T::try_from(number).ok());
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{text} is not in {}..={}", range.start(), range.end()))
}

/// `strconv.ParseInt` of base 0.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefix = prefixes.into_iter().find_map(|(prefix, radix)| {
        let rest = lower.strip_prefix(prefix)?;
        (!rest.is_empty()).then_some((rest, radix, true))
    });
    let (digits, radix, has_prefix) = prefix.unwrap_or((&lower, 10, false));
    // An underscore stands between digits, or between the prefix and them.
    let parts = if has_prefix {
        digits.strip_prefix('_').unwrap_or(digits)
    } else {
        digits
    };
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
    if !parts.split('_').all(is_number) {
        return None;
    }
    let plain = parts.replace('_', "");
    let number = i128::from_str_radix(&plain, radix).ok()?;
    Some(if is_negative { -number } else { number })
}

/// `-v`: digits alone, up to the largest number of 31 bits, as component-base reads it.
pub(crate) fn verbosity(text: &str) -> Result<u32, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| *number <= i32::MAX as u32);
    number
        .filter(|_| is_plain)
        .ok_or_else(|| format!("{text} is not in 0..={}", i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (text, number) in [
            ("0", 0),
            ("14", 14),
            ("+14", 14),
            ("-999", -999),
            ("0x1F", 31),
            ("0X_1f", 31),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("0_7", 7),
            ("1_000", 1000),
            ("-0x10", -16),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "", "-", "+", "x", "1 ", " 1", "1.0", "1e3", "0x", "_1", "1_", "1__0", "09", "0b2",
            "--1", "0x-1", "1_x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(integer("0xe", 0..=31_u8), Ok(14));
        let refused = integer("32", 0..=31_u8);
        assert_eq!(refused, Err("32 is not in 0..=31".to_owned()));
        assert!(integer("-1", 0..=31_u8).is_err());
    }

    #[test]
    fn verbosity_is_of_31_bits() {
        for (text, level) in [
            ("0", 0),
            ("300", 300),
            ("007", 7),
            ("2147483647", 2_147_483_647),
        ] {
            assert_eq!(verbosity(text), Ok(level));
        }
        for text in [
            "",
            "-1",
            "+1",
            "2147483648",
            "0x1",
            "1_0",
            "many",
            "4294967296",
        ] {
            assert!(verbosity(text).is_err(), "{text}");
        }
    }
}
