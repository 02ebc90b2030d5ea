//! The attributes of a message as it is read: what stands behind its generic netlink header.

use crate::error::{SemanticError, WireError};
use crate::wire::for_each_raw;

/// All of them.
#[inline]
pub(crate) fn attributes(message: &[u8]) -> Result<&[u8], WireError> {
    message
        .get(4..)
        .ok_or(WireError::NoHeader { got: message.len() })
}

/// The value of one of them, the last where there are more, as in the kernel.
#[inline]
pub(crate) fn find<'a>(
    message: &'a [u8],
    kind: u16,
    name: &'static str,
) -> Result<&'a [u8], SemanticError> {
    let mut found = None;
    for_each_raw("message", attributes(message)?, |raw| {
        if raw.kind() == kind {
            found = Some(raw.value);
        }
        Ok::<_, WireError>(())
    })?;
    found.ok_or(SemanticError::Missing(name))
}
