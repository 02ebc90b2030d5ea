use std::fmt;
use std::str::FromStr;

/// Release of a kernel, as far as it orders: `5.15.0-91-generic` is 5.15.0.
///
/// ```
/// use ipvs_probe::KernelRelease;
/// let ubuntu: KernelRelease = "5.15.0-91-generic".parse().unwrap();
/// assert!(ubuntu >= KernelRelease::new(5, 9, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelRelease {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A release that does not start with a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel release {0:?} does not start with a version")]
pub struct InvalidRelease(String);

impl KernelRelease {
    /// A release.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

impl FromStr for KernelRelease {
    type Err = InvalidRelease;
    fn from_str(text: &str) -> Result<Self, InvalidRelease> {
        let mut parts = text.trim().split('.').map(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part.get(..digits).unwrap_or_default().parse().ok()
        });
        let mut number = || parts.next().flatten();
        match number() {
            Some(major) => Ok(Self {
                major,
                minor: number().unwrap_or(0),
                patch: number().unwrap_or(0),
            }),
            None => Err(InvalidRelease(text.to_owned())),
        }
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_order() {
        let parse = |text: &str| text.parse::<KernelRelease>().unwrap();
        assert_eq!(parse("5.15.0-91-generic"), KernelRelease::new(5, 15, 0));
        assert_eq!(parse("6.1.176\n"), KernelRelease::new(6, 1, 176));
        assert_eq!(
            parse("4.18.0-553.el8_10.x86_64"),
            KernelRelease::new(4, 18, 0)
        );
        assert_eq!(parse("7.1-rc3"), KernelRelease::new(7, 1, 0));
        assert!(parse("4.19.0") > parse("4.9.337"));
        assert!("unknown".parse::<KernelRelease>().is_err());
    }
}
