//! Durations as Go reads and writes them (`time.ParseDuration`, `Duration.String`): what kube-proxy refuses is refused, and
//! what it takes means the same. Readers in other crates take `1d` or `5 s`, or panic on what is too long.

use std::time::Duration;

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The longest one, of some 292 years.
const LONGEST: u64 = i64::MAX as u64;

/// Why a text is no duration that a flag can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error(
        "{0:?} is no duration: it must be as 30s or 1h30m, of numbers with the units h, m, s, ms, us and ns"
    )]
    Malformed(String),
    #[error("{text:?} is no duration: {unit:?} is no unit, but h, m, s, ms, us and ns are")]
    Unit { text: String, unit: String },
    #[error("{0:?} is too long: a duration has at most 2562047h")]
    TooLong(String),
    #[error("{0:?} is less than nothing")]
    Negative(String),
}

/// Reads a duration, which must not be negative.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let (sign, mut rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let nanoseconds = unit_of(unit).ok_or_else(|| match unit {
            "" => malformed(),
            unit => DurationError::Unit {
                text: text.to_owned(),
                unit: unit.to_owned(),
            },
        })?;
        let whole: u64 = match whole {
            "" => 0,
            whole => whole.parse().ok().ok_or_else(too_long)?,
        };
        let part = whole
            .checked_mul(nanoseconds)
            .and_then(|part| part.checked_add(fraction_of(fraction, nanoseconds)));
        let sum = part.and_then(|part| total.checked_add(part));
        total = sum.filter(|sum| *sum <= LONGEST).ok_or_else(too_long)?;
        rest = after;
    }
    if sign && total > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    Ok(Duration::from_nanos(total))
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn unit_of(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => NANOSECOND,
        // As it is typed, with the sign for micro, and with the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// The nanoseconds of a fraction of a unit, cut. Go reckons with 64 bits, too: what has no room in them does not count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "less than a unit, and not negative"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut fraction, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes().map(|byte| u64::from(byte - b'0')) {
        let next = fraction
            .checked_mul(10)
            .and_then(|next| next.checked_add(digit));
        let Some(next) = next.filter(|next| *next <= LONGEST) else {
            break;
        };
        fraction = next;
        scale *= 10.0;
    }
    (fraction as f64 * (unit as f64 / scale)) as u64
}

/// As Go writes it: `15m0s`, `1.5s`, `0s`.
pub(crate) fn format(duration: Duration) -> String {
    let all = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (hours, minutes, rest) = (all / HOUR, all / MINUTE % 60, all % MINUTE);
    match all {
        0 => "0s".to_owned(),
        1..MICROSECOND => format!("{all}ns"),
        MICROSECOND..MILLISECOND => format!("{}\u{b5}s", decimal(all, MICROSECOND)),
        MILLISECOND..SECOND => format!("{}ms", decimal(all, MILLISECOND)),
        SECOND..MINUTE => format!("{}s", decimal(all, SECOND)),
        MINUTE..HOUR => format!("{minutes}m{}s", decimal(rest, SECOND)),
        _ => format!("{hours}h{minutes}m{}s", decimal(rest, SECOND)),
    }
}

/// So many units, with as many places as are needed.
fn decimal(nanoseconds: u64, unit: u64) -> String {
    let (whole, rest) = (nanoseconds / unit, nanoseconds % unit);
    let places = unit.ilog10() as usize;
    let fraction = format!("{rest:0places$}");
    match fraction.trim_end_matches('0') {
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: [(&str, u64); 8] = [
        ("ns", NANOSECOND),
        ("us", MICROSECOND),
        ("\u{b5}s", MICROSECOND),
        ("\u{3bc}s", MICROSECOND),
        ("ms", MILLISECOND),
        ("s", SECOND),
        ("m", MINUTE),
        ("h", HOUR),
    ];

    #[test]
    fn what_go_takes_means_the_same() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("-0s", 0),
            ("0s", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("5.s", 5 * SECOND),
            (".5s", SECOND / 2),
            ("5.6s", 5_600 * MILLISECOND),
            ("010s", 10 * SECOND),
            ("12us", 12_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("3h30m", 210 * MINUTE),
            ("10.5s4m", 4 * MINUTE + 10_500 * MILLISECOND),
            (
                "1h2m3s4ms5us6ns",
                HOUR + 2 * MINUTE + 3 * SECOND + 4_005_006,
            ),
            ("52763797000ns", 52_763_797_000),
            // The fraction has no room in 64 bits, and is cut.
            ("0.3333333333333333333h", 20 * MINUTE),
            ("0.100000000000000000000h", 6 * MINUTE),
            ("0.830103483285477580700h", 2_988_372_539_827),
            ("1.9ns", 1),
            ("9223372036854775807ns", LONGEST),
            ("2540400h10m10.000000000s", 9_145_440_610 * SECOND),
        ] {
            let read = parse(text).map(|read| read.as_nanos());
            assert_eq!(read, Ok(u128::from(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_the_reason() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        for text in [
            "", "3", "+", "-", "s", ".", "-.", ".s", "+.s", "5 s", " 5s", "5s ", "1h 5m", "--5s",
            "+-5s", "1:30", "5,5s", "1e3s", "1..5s", "\u{663}s", "infinity",
        ] {
            let said = said(text);
            assert!(said.contains("is no duration"), "{said}");
        }
        for (text, unit) in [
            ("1M", "M"),
            ("1d", "d"),
            ("5S", "S"),
            ("1sec", "sec"),
            ("1h5", ""),
        ] {
            let unit = format!("{unit:?} is no unit");
            let said = said(text);
            assert!(said.contains(&unit) || text == "1h5", "{said}");
        }
        for text in [
            "9223372036854775808ns",
            "2562048h",
            "2562047h60m",
            "99999999999999999999h",
            "-9223372036854775809ns",
        ] {
            assert!(said(text).contains("too long"), "{text}");
        }
        assert!(said("-5s").contains("less than nothing"));
    }

    #[test]
    fn they_are_written_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300 * MILLISECOND, "3.3s"),
            (4 * MINUTE + 5 * SECOND, "4m5s"),
            (4 * MINUTE + 5_001 * MILLISECOND, "4m5.001s"),
            (15 * MINUTE, "15m0s"),
            (24 * HOUR, "24h0m0s"),
            (5 * HOUR + 6 * MINUTE + 7_001 * MILLISECOND, "5h6m7.001s"),
            (8 * MINUTE + 1, "8m0.000000001s"),
            (LONGEST, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanoseconds in 0..=LONGEST) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        /// Numbers with units, added up: exact as long as the fractions have no more places than a nanosecond.
        #[test]
        fn sums_of_numbers_with_units_are_what_they_say(
            parts in prop::collection::vec((0_u64..1_000_000, 0..=9_u32, 0..UNITS.len()), 1..6)
        ) {
            let (mut text, mut least, mut exact) = (String::new(), 0_u128, 0_u128);
            for (number, places, unit) in parts {
                let (name, nanoseconds) = UNITS[unit];
                let places = places.min(nanoseconds.ilog10());
                let scale = 10_u64.pow(places);
                let (whole, rest) = (number / scale, number % scale);
                let width = places as usize;
                text += &match places {
                    0 => format!("{whole}{name}"),
                    _ => format!("{whole}.{rest:0width$}{name}"),
                };
                let part = u128::from(number) * u128::from(nanoseconds) / u128::from(scale);
                exact += part;
                // Binary fractions may fall short by one.
                least += part.saturating_sub(u128::from(places > 0));
            }
            let read = parse(&text).unwrap().as_nanos();
            prop_assert!((least..=exact).contains(&read), "{}: {}, not {}", text, read, exact);
        }

        /// By Go's grammar: a sign, then numbers with units, or a single 0.
        #[test]
        fn a_text_is_a_duration_where_gos_grammar_says_so(text in "[-+]?[0-9.hmsnuµμd]{0,12}|\\PC{0,8}") {
            let read = parse(&text);
            if !matches!(read, Err(DurationError::TooLong(_))) {
                let is_one = matches!(read, Ok(_) | Err(DurationError::Negative(_)));
                prop_assert_eq!(is_one, is_in_the_grammar(&text), "{}", text);
            }
        }
    }

    /// Written the other way round: from the end, unit by unit.
    fn is_in_the_grammar(text: &str) -> bool {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if unsigned == "0" {
            return true;
        }
        let mut rest = unsigned;
        while !rest.is_empty() {
            // The longest unit: of `5ms` it is no `s`.
            let fits = |(name, _): &&(&str, u64)| rest.ends_with(name);
            let unit = UNITS.iter().filter(fits).max_by_key(|(name, _)| name.len());
            let Some((name, _)) = unit else {
                return false;
            };
            let before = &rest[..rest.len() - name.len()];
            let number =
                before.trim_end_matches(|letter: char| letter == '.' || letter.is_ascii_digit());
            let digits = &before[number.len()..];
            let has_digits = digits.bytes().any(|byte| byte != b'.');
            if !has_digits || digits.matches('.').count() > 1 {
                return false;
            }
            rest = number;
        }
        !unsigned.is_empty()
    }
}
