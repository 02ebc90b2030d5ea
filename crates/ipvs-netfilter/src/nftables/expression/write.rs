//! Expressions as bytes, in the order in which `nft` writes their attributes.

use super::attribute::{
    MASQUERADE_FLAGS, bitwise, cmp, counter, ct, expression, fib, immediate, lookup, meta, payload,
    range, reject, verdict,
};
use super::{Comparison, Direction, Expression, Reject, Verdict};
use crate::nftables::attributes::{put_be32, put_name, put_value};
use crate::wire::{nest, put, put_str};

impl Expression {
    /// Appends `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
    pub(in crate::nftables) fn emit(&self, out: &mut Vec<u8>) {
        put_str(out, expression::NAME, self.name());
        match self {
            Self::NoTrack => {}
            Self::Other(other) => {
                if let Some(data) = &other.data {
                    nest(out, expression::DATA, |out| out.extend(data));
                }
            }
            known => nest(out, expression::DATA, |out| known.emit_data(out)),
        }
    }

    fn emit_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::Payload {
                base,
                offset,
                length,
                to,
            } => {
                put_be32(out, payload::TO, to.number());
                put_be32(out, payload::BASE, base.0);
                put_be32(out, payload::OFFSET, *offset);
                put_be32(out, payload::LENGTH, *length);
            }
            Self::Meta { key, to } => {
                put_be32(out, meta::KEY, key.0);
                put_be32(out, meta::TO, to.number());
            }
            Self::SetMeta { key, from } => {
                put_be32(out, meta::KEY, key.0);
                put_be32(out, meta::FROM, from.number());
            }
            Self::Ct { key, direction, to } => {
                put_be32(out, ct::KEY, key.0);
                put_be32(out, ct::TO, to.number());
                if let Some(direction) = direction {
                    put(out, ct::DIRECTION, &[direction_number(*direction)]);
                }
            }
            Self::Fib { result, flags, to } => {
                put_be32(out, fib::FLAGS, *flags);
                put_be32(out, fib::RESULT, result.0);
                put_be32(out, fib::TO, to.number());
            }
            Self::Immediate { value, to } => {
                put_be32(out, immediate::TO, to.number());
                put_value(out, immediate::DATA, value);
            }
            Self::Verdict(verdict) => {
                put_be32(out, immediate::TO, immediate::VERDICT_REGISTER);
                nest(out, immediate::DATA, |out| emit_verdict(verdict, out));
            }
            Self::Bitwise {
                from,
                to,
                mask,
                xor,
            } => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                put_be32(out, bitwise::FROM, from.number());
                put_be32(out, bitwise::TO, to.number());
                put_be32(out, bitwise::OPERATION, bitwise::MASK_XOR);
                put_be32(out, bitwise::LENGTH, length);
                put_value(out, bitwise::MASK, mask);
                put_value(out, bitwise::XOR, xor);
            }
            Self::Compare {
                register,
                how,
                value,
            } => {
                put_be32(out, cmp::REGISTER, register.number());
                put_be32(out, cmp::OPERATION, comparison_number(*how));
                put_value(out, cmp::DATA, value);
            }
            Self::Range {
                register,
                inverted,
                first,
                last,
            } => {
                put_be32(out, range::REGISTER, register.number());
                put_be32(out, range::OPERATION, (*inverted).into());
                put_value(out, range::FIRST, first);
                put_value(out, range::LAST, last);
            }
            Self::Lookup {
                set,
                register,
                inverted,
            } => {
                put_be32(out, lookup::REGISTER, register.number());
                put_name(out, lookup::SET, set);
                if *inverted {
                    put_be32(out, lookup::FLAGS, lookup::INVERTED);
                }
            }
            Self::Reject(how) => {
                let (kind, code) = match how {
                    Reject::Unreachable(code) => (reject::UNREACHABLE, *code),
                    Reject::Reset => (reject::RESET, 0),
                    Reject::UnreachableInet(code) => (reject::UNREACHABLE_INET, *code),
                };
                put_be32(out, reject::TYPE, kind);
                put(out, reject::CODE, &[code]);
            }
            Self::Masquerade { flags } => {
                if *flags != 0 {
                    put_be32(out, MASQUERADE_FLAGS, *flags);
                }
            }
            Self::Counter(counts) => {
                if (counts.bytes, counts.packets) != (0, 0) {
                    put(out, counter::BYTES, &counts.bytes.to_be_bytes());
                    put(out, counter::PACKETS, &counts.packets.to_be_bytes());
                }
            }
            Self::NoTrack | Self::Other(_) => {}
        }
    }
}

fn emit_verdict(verdict: &Verdict, out: &mut Vec<u8>) {
    let (code, chain) = match verdict {
        Verdict::Accept => (verdict::ACCEPT, None),
        Verdict::Drop => (verdict::DROP, None),
        Verdict::Return => (verdict::RETURN, None),
        Verdict::Jump(chain) => (verdict::JUMP, Some(chain)),
        Verdict::Goto(chain) => (verdict::GOTO, Some(chain)),
    };
    nest(out, verdict::VERDICT, |out| {
        put(out, verdict::CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            put_name(out, verdict::CHAIN, chain);
        }
    });
}

pub(super) const fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::Original => 0,
        Direction::Reply => 1,
    }
}

pub(super) const fn comparison_number(comparison: Comparison) -> u32 {
    match comparison {
        Comparison::Equal => 0,
        Comparison::NotEqual => 1,
        Comparison::Less => 2,
        Comparison::AtMost => 3,
        Comparison::Greater => 4,
        Comparison::AtLeast => 5,
    }
}
