use super::wire::{data, message};
use crate::error::MessageError;
use crate::wire::{attrs, body};

/// How much is in a set, as the kernel counts it: the answer to [`Request::ListSizes`](super::Request::ListSizes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetSize<'a> {
    /// The set's name; empty if it is no text.
    pub name: &'a str,
    /// The kernel's name of its type; empty if it is no text.
    pub type_name: &'a str,
    /// Its entries. A kernel before 4.9 does not say it.
    pub entries: Option<u32>,
    /// Rules, and other sets, that refer to it.
    pub references: Option<u32>,
}

impl<'a> SetSize<'a> {
    /// Reads it from the bytes behind the netlink header. O(attributes), and no memory.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are no listing of a set.
    ///
    /// ```
    /// use ipvs_netfilter::ipset::SetSize;
    /// assert!(SetSize::parse(&[2, 0, 0]).is_err()); // no netfilter header
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut size = SetSize {
            name: "",
            type_name: "",
            entries: None,
            references: None,
        };
        for attr in attrs(body(bytes)?) {
            let (kind, value) = attr?;
            match kind {
                message::SET_NAME => size.name = text(value),
                message::TYPE_NAME => size.type_name = text(value),
                message::DATA => {
                    for attr in attrs(value) {
                        let (kind, value) = attr?;
                        let number = || value.first_chunk().copied().map(u32::from_be_bytes);
                        match kind {
                            data::ENTRIES => size.entries = number(),
                            data::REFERENCES => size.references = number(),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(size)
    }
}

fn text(value: &[u8]) -> &str {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{nest, put, put_be, put_str};

    #[test]
    fn a_head_says_how_much_there_is() {
        let mut bytes = vec![2, 0, 0, 0];
        put(&mut bytes, message::PROTOCOL, &[6]);
        put_str(&mut bytes, message::SET_NAME, "KUBE-CLUSTER-IP");
        put_str(&mut bytes, message::TYPE_NAME, "hash:ip,port");
        nest(&mut bytes, message::DATA, |out| {
            put_be(out, data::MAX_ELEMENTS, &65_536_u32.to_be_bytes());
            put_be(out, data::REFERENCES, &3_u32.to_be_bytes());
            put_be(out, data::ENTRIES, &17_u32.to_be_bytes());
        });
        let size = SetSize::parse(&bytes).unwrap();
        let wanted = ("KUBE-CLUSTER-IP", Some(17), Some(3));
        assert_eq!((size.name, size.entries, size.references), wanted);
        assert_eq!(size.type_name, "hash:ip,port");
        for end in 0..bytes.len() {
            let _ = SetSize::parse(&bytes[..end]);
        }
        assert_eq!(SetSize::parse(&[2, 0, 0, 0]).unwrap().entries, None);
    }
}
