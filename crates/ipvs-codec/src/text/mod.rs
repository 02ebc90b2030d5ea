//! The lines that `ipvsadm -S -n` writes and `ipvsadm -R` reads.

mod destination;
mod options;
mod service;

use std::fmt;
use std::str::FromStr;

use crate::error::TextError;
use crate::types::{Destination, Service, ServiceKey};
use options::Options;

/// One line of a saved table: what `ipvsadm -S -n` writes is parsed and printed back byte for byte.
///
/// Thresholds, which `ipvsadm -S` forgets, are written (`-x`, `-y`) where they are set; `ipvsadm -R` reads them.
///
/// ```
/// use ipvs_codec::SavedLine;
///
/// let text = "-A -t 10.0.0.1:80 -s sh -p 300 -M 255.255.255.0 -b sh-port\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3";
/// let lines: Vec<SavedLine> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
/// assert!(matches!(lines[..], [SavedLine::Service(_), SavedLine::Destination(..)]));
/// assert_eq!(lines.map_to_text(), text);
/// # trait Text { fn map_to_text(&self) -> String; }
/// # impl Text for Vec<SavedLine> {
/// #     fn map_to_text(&self) -> String { self.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") }
/// # }
/// # Ok::<(), ipvs_codec::TextError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum SavedLine {
    /// `-A`: a service.
    Service(Service),
    /// `-a`: a destination of a service.
    Destination(ServiceKey, Destination),
}

impl fmt::Display for SavedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => fmt::Display::fmt(service, f),
            Self::Destination(key, destination) => {
                f.write_str("-a ")?;
                service::write_key(key, f)?;
                write!(f, " {destination}")
            }
        }
    }
}

impl FromStr for SavedLine {
    type Err = TextError;
    fn from_str(line: &str) -> Result<Self, TextError> {
        let mut options = Options::of(line);
        match options.next() {
            Some("-A") => service::read(options).map(Self::Service),
            Some("-a") => {
                let key = service::read_key(&mut options)?;
                destination::read(options).map(|destination| Self::Destination(key, destination))
            }
            Some(other) => Err(TextError::Unexpected(other.to_owned())),
            None => Err(TextError::Missing("-A or -a")),
        }
    }
}
