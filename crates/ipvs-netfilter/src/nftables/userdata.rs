use std::fmt;

/// What user space keeps with an object and the kernel does not look at: comments, and hints for `nft list`. At most 256
/// bytes of parts, each a kind, a length and a value.
///
/// ```
/// use ipvs_netfilter::nftables::Userdata;
/// let data = Userdata::default().with_text(Userdata::COMMENT, "made by ipvs 0.1").unwrap();
/// assert_eq!(data.text(Userdata::COMMENT), Some("made by ipvs 0.1"));
/// assert_eq!(Userdata::default().with_text(Userdata::COMMENT, &"x".repeat(255)), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Userdata(Vec<u8>);

impl Userdata {
    /// The comment of a table, chain, rule or entry, as text; of a set it is [`SET_COMMENT`](Self::SET_COMMENT).
    pub const COMMENT: u8 = 0;
    /// The byte order of a set's key, four bytes in host byte order.
    pub const SET_KEY_BYTE_ORDER: u8 = 0;
    /// The comment of a set, as text.
    pub const SET_COMMENT: u8 = 7;
    /// Bytes that the kernel keeps at most (`NFT_USERDATA_MAXLEN`).
    pub const MAX: usize = 256;

    /// What the kernel keeps; none if it is too long. It need not have parts.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// With a further part; none if it is too long then.
    #[must_use]
    pub fn with(mut self, kind: u8, value: &[u8]) -> Option<Self> {
        self.0.extend([kind, u8::try_from(value.len()).ok()?]);
        self.0.extend(value);
        (self.0.len() <= Self::MAX).then_some(self)
    }

    /// With a text, which is kept with a NUL behind it; none if it is too long, or has one inside.
    #[must_use]
    pub fn with_text(self, kind: u8, text: &str) -> Option<Self> {
        let ended = [text.as_bytes(), b"\0"].concat();
        (!text.contains('\0')).then(|| self.with(kind, &ended))?
    }

    /// The first part of a kind.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.0[..];
        while let [found, length, behind @ ..] = rest {
            let (value, behind) = behind.split_at_checked(usize::from(*length))?;
            if *found == kind {
                return Some(value);
            }
            rest = behind;
        }
        None
    }

    /// The first part of a kind, as a text.
    #[must_use]
    pub fn text(&self, kind: u8) -> Option<&str> {
        std::str::from_utf8(self.get(kind)?.strip_suffix(b"\0")?).ok()
    }
}

impl fmt::Debug for Userdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
