/// Bytes that are no message of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The netfilter header is missing.
    #[error("netfilter header is missing")]
    NoHeader,
    /// An attribute header is cut off, or claims more bytes than there are.
    #[error("broken attribute header")]
    BrokenAttribute,
    /// An attribute is missing, or its value is none.
    #[error("{0} is missing, or its value is none")]
    Missing(&'static str),
}
