use super::wire::{data, message};
use crate::error::MessageError;
use crate::wire::{attrs, body};

/// The sets that a set of the type `list:set` lists, by name: a message of the answer to
/// [`Request::List`](super::Request::List), read from the bytes behind the netlink header. A name that is no text is left out.
///
/// # Errors
/// [`MessageError`] when the bytes are no listing of a set.
///
/// ```
/// use ipvs_netfilter::ipset::listed_sets;
/// assert!(listed_sets(&[2, 0, 0, 0]).unwrap().is_empty());
/// ```
pub fn listed_sets(bytes: &[u8]) -> Result<Vec<&str>, MessageError> {
    let mut names = Vec::new();
    for attr in attrs(body(bytes)?) {
        let (kind, entries) = attr?;
        if kind != message::ADT {
            continue;
        }
        for entry in attrs(entries) {
            for attr in attrs(entry?.1) {
                let (kind, name) = attr?;
                if kind == data::NAME {
                    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                    names.extend(std::str::from_utf8(name).ok());
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{nest, put_be, put_str};

    #[test]
    fn names_are_read_and_nothing_else() {
        let mut bytes = vec![2, 0, 0, 0];
        put_str(&mut bytes, message::SET_NAME, "all");
        nest(&mut bytes, message::ADT, |out| {
            for name in ["KUBE-CLUSTER-IP", "theirs"] {
                nest(out, message::DATA, |out| {
                    put_str(out, data::NAME, name);
                    put_be(out, data::TIMEOUT, &60_u32.to_be_bytes());
                });
            }
        });
        assert_eq!(listed_sets(&bytes).unwrap(), ["KUBE-CLUSTER-IP", "theirs"]);
        for end in 0..bytes.len() {
            let _ = listed_sets(&bytes[..end]);
        }
    }
}
