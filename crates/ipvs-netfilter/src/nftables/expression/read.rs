//! Expressions from bytes. One that has more to it than its type here can say is kept as it is.

use super::attribute::{bitwise, expression, immediate, lookup, reject, verdict};
use super::{
    Comparison, Counts, CtKey, Direction, Expression, FibResult, MetaKey, OtherExpression,
    PayloadBase, Reject, Verdict,
};
use crate::error::MessageError;
use crate::nftables::attributes::{only, text, value};
use crate::nftables::{Name, Register};
use crate::wire::attrs;

impl Expression {
    /// Reads `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
    pub(in crate::nftables) fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let (mut name, mut data) = (None, None);
        for attr in attrs(bytes) {
            match attr? {
                (expression::NAME, value) => name = Some(text(value)),
                (expression::DATA, value) => data = Some(value),
                _ => {}
            }
        }
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or(MessageError::Missing("NFTA_EXPR_NAME"))?;
        Ok(known(name, data.unwrap_or_default()).unwrap_or_else(|| {
            Self::Other(OtherExpression {
                name: name.to_owned(),
                data: data.map(<[u8]>::to_vec),
            })
        }))
    }
}

/// An attribute of four bytes in network byte order.
fn number(value: Option<&[u8]>) -> Option<u32> {
    exact(value).map(u32::from_be_bytes)
}

fn exact<const N: usize>(value: Option<&[u8]>) -> Option<[u8; N]> {
    value?.try_into().ok()
}

fn register(value: Option<&[u8]>) -> Option<Register> {
    Register::from_number(number(value)?)
}

fn name(value: Option<&[u8]>) -> Option<Name> {
    Name::from_bytes(text(value?))
}

fn known(name: &str, data: &[u8]) -> Option<Expression> {
    match name {
        "payload" => payload(data),
        "meta" => meta(data),
        "ct" => ct(data),
        "fib" => fib(data),
        "immediate" => immediate(data),
        "bitwise" => bitwise(data),
        "cmp" => compare(data),
        "range" => range(data),
        "lookup" => lookup(data),
        "reject" => reject(data),
        "masq" => {
            let [flags] = only(data)?;
            let flags = flags.map_or(Some(0), |flags| number(Some(flags)))?;
            Some(Expression::Masquerade { flags })
        }
        "notrack" => data.is_empty().then_some(Expression::NoTrack),
        "counter" => counter(data),
        _ => None,
    }
}

fn payload(data: &[u8]) -> Option<Expression> {
    let [to, base, offset, length] = only(data)?;
    Some(Expression::Payload {
        base: PayloadBase(number(base)?),
        offset: number(offset)?,
        length: number(length)?,
        to: register(to)?,
    })
}

fn meta(data: &[u8]) -> Option<Expression> {
    let [to, key, from] = only(data)?;
    let key = MetaKey(number(key)?);
    match (to, from) {
        (to @ Some(_), None) => Some(Expression::Meta {
            key,
            to: register(to)?,
        }),
        (None, from @ Some(_)) => Some(Expression::SetMeta {
            key,
            from: register(from)?,
        }),
        _ => None,
    }
}

fn ct(data: &[u8]) -> Option<Expression> {
    let [to, key, direction] = only(data)?;
    let direction = match direction {
        None => None,
        Some([0]) => Some(Direction::Original),
        Some([1]) => Some(Direction::Reply),
        Some(_) => return None,
    };
    Some(Expression::Ct {
        key: CtKey(number(key)?),
        direction,
        to: register(to)?,
    })
}

fn fib(data: &[u8]) -> Option<Expression> {
    let [to, result, flags] = only(data)?;
    Some(Expression::Fib {
        result: FibResult(number(result)?),
        flags: number(flags)?,
        to: register(to)?,
    })
}

fn immediate(data: &[u8]) -> Option<Expression> {
    let [to, data] = only(data)?;
    if number(to)? == immediate::VERDICT_REGISTER {
        return verdict(data?).map(Expression::Verdict);
    }
    Some(Expression::Immediate {
        value: value(data?)?,
        to: register(to)?,
    })
}

fn verdict(data: &[u8]) -> Option<Verdict> {
    let [None, Some(nest)] = only(data)? else {
        return None;
    };
    let [code, chain] = only(nest)?;
    match (i32::from_be_bytes(exact(code)?), chain) {
        (verdict::ACCEPT, None) => Some(Verdict::Accept),
        (verdict::DROP, None) => Some(Verdict::Drop),
        (verdict::RETURN, None) => Some(Verdict::Return),
        (verdict::JUMP, chain) => name(chain).map(Verdict::Jump),
        (verdict::GOTO, chain) => name(chain).map(Verdict::Goto),
        _ => None,
    }
}

fn bitwise(data: &[u8]) -> Option<Expression> {
    let [from, to, length, mask, xor, operation] = only(data)?;
    let (mask, xor) = (value(mask?)?, value(xor?)?);
    let length = usize::try_from(number(length)?).ok()?;
    let is_mask_xor = operation.is_none() || number(operation)? == bitwise::MASK_XOR;
    (is_mask_xor && [mask.len(), xor.len()] == [length; 2]).then_some(())?;
    Some(Expression::Bitwise {
        from: register(from)?,
        to: register(to)?,
        mask,
        xor,
    })
}

fn compare(data: &[u8]) -> Option<Expression> {
    let [from, operation, data] = only(data)?;
    Some(Expression::Compare {
        register: register(from)?,
        how: match number(operation)? {
            0 => Comparison::Equal,
            1 => Comparison::NotEqual,
            2 => Comparison::Less,
            3 => Comparison::AtMost,
            4 => Comparison::Greater,
            5 => Comparison::AtLeast,
            _ => return None,
        },
        value: value(data?)?,
    })
}

fn range(data: &[u8]) -> Option<Expression> {
    let [from, operation, first, last] = only(data)?;
    Some(Expression::Range {
        register: register(from)?,
        inverted: match number(operation)? {
            0 => false,
            1 => true,
            _ => return None,
        },
        first: value(first?)?,
        last: value(last?)?,
    })
}

fn lookup(data: &[u8]) -> Option<Expression> {
    // The number of the set is that of its transaction, and says nothing that the name does not.
    let [set, from, None, _id, flags] = only(data)? else {
        return None;
    };
    Some(Expression::Lookup {
        set: name(set)?,
        register: register(from)?,
        inverted: match flags.map_or(Some(0), |flags| number(Some(flags)))? {
            0 => false,
            lookup::INVERTED => true,
            _ => return None,
        },
    })
}

fn reject(data: &[u8]) -> Option<Expression> {
    let [kind, code] = only(data)?;
    let code = match code {
        Some([code]) => Some(*code),
        None => None,
        Some(_) => return None,
    };
    let how = match (number(kind)?, code) {
        (reject::UNREACHABLE, Some(code)) => Reject::Unreachable(code),
        (reject::UNREACHABLE_INET, Some(code)) => Reject::UnreachableInet(code),
        (reject::RESET, None | Some(0)) => Reject::Reset,
        _ => return None,
    };
    Some(Expression::Reject(how))
}

fn counter(data: &[u8]) -> Option<Expression> {
    let [bytes, packets, _pad] = only(data)?;
    let count = |value: Option<&[u8]>| match value {
        None => Some(0),
        some => exact(some).map(u64::from_be_bytes),
    };
    Some(Expression::Counter(Counts {
        packets: count(packets)?,
        bytes: count(bytes)?,
    }))
}
