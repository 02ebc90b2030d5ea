use netlink_packet_core::NLA_TYPE_MASK;

use super::attributes::{Listed, OtherAttributes, be64, name, put_name};
use super::{ChainId, Expression, Family, TableId, Userdata};
use crate::error::MessageError;
use crate::wire::{attrs, body, flagged_attrs, nest, put};

/// Attributes `NFTA_RULE_…`.
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const HANDLE: u16 = 3;
    pub(super) const EXPRESSIONS: u16 = 4;
    pub(super) const POSITION: u16 = 6;
    pub(super) const USERDATA: u16 = 7;
    pub(super) const PAD: u16 = 8;
}

/// `NFTA_LIST_ELEM`.
const LIST_ELEMENT: u16 = 1;

/// A rule of a chain.
///
/// ```
/// use ipvs_netfilter::nftables::{Expression, Family, Rule, TableId, Verdict};
/// let table = TableId { family: Family::IPV4, name: "proxy".parse().unwrap() };
/// let chain = table.chain("source-ranges".parse().unwrap());
/// let rule = Rule::new(chain, vec![Expression::Verdict(Verdict::Drop)]).unwrap();
/// assert_eq!(rule.expressions().len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain that it is in.
    pub chain: ChainId,
    expressions: Vec<Expression>,
    /// Its comment.
    pub userdata: Userdata,
    /// What else the kernel says of it.
    pub other: OtherAttributes,
}

/// A rule has more or longer steps than the kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rule has at most {} expressions, and not so long ones", Rule::MAX)]
pub struct RuleTooLong;

impl Rule {
    /// Expressions of a rule at most (`NFT_RULE_MAXEXPRS`).
    pub const MAX: usize = 128;
    /// Their bytes at most: they share an attribute of 64 KiB with nothing else.
    const MAX_BYTES: usize = 60 * 1024;

    /// A rule without a comment.
    ///
    /// # Errors
    /// [`RuleTooLong`] for more or longer expressions than the kernel takes.
    pub fn new(chain: ChainId, expressions: Vec<Expression>) -> Result<Self, RuleTooLong> {
        let mut bytes = Vec::new();
        emit_expressions(&expressions, &mut bytes);
        if expressions.len() > Self::MAX || bytes.len() > Self::MAX_BYTES {
            return Err(RuleTooLong);
        }
        Ok(Self {
            chain,
            expressions,
            userdata: Userdata::default(),
            other: OtherAttributes::default(),
        })
    }

    /// What it does, step by step.
    #[must_use]
    pub fn expressions(&self) -> &[Expression] {
        &self.expressions
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        put_chain(out, &self.chain);
        nest(out, attribute::EXPRESSIONS, |out| {
            emit_expressions(&self.expressions, out);
        });
        if !self.userdata.as_bytes().is_empty() {
            put(out, attribute::USERDATA, self.userdata.as_bytes());
        }
        self.other.emit(out);
    }

    /// Reads a rule from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Listed<Self>, MessageError> {
        use MessageError::Missing;
        let family = Family(*bytes.first().ok_or(MessageError::NoHeader)?);
        let (mut table, mut chain, mut handle) = (None, None, 0);
        let mut expressions = Vec::new();
        let mut userdata = Userdata::default();
        let mut other = OtherAttributes::default();
        for attr in flagged_attrs(body(bytes)?) {
            let (head, value) = attr?;
            match head & NLA_TYPE_MASK {
                attribute::TABLE => table = Some(name("NFTA_RULE_TABLE", value)?),
                attribute::CHAIN => chain = Some(name("NFTA_RULE_CHAIN", value)?),
                attribute::HANDLE => handle = be64("NFTA_RULE_HANDLE", value)?,
                attribute::EXPRESSIONS => expressions = parse_expressions(value)?,
                attribute::USERDATA => {
                    userdata = Userdata::from_bytes(value).ok_or(Missing("NFTA_RULE_USERDATA"))?;
                }
                attribute::POSITION | attribute::PAD => {}
                _ => other.keep(head, value),
            }
        }
        let table = TableId {
            family,
            name: table.ok_or(Missing("NFTA_RULE_TABLE"))?,
        };
        Ok(Listed {
            object: Self {
                chain: table.chain(chain.ok_or(Missing("NFTA_RULE_CHAIN"))?),
                expressions,
                userdata,
                other,
            },
            handle,
        })
    }
}

fn emit_expressions(expressions: &[Expression], out: &mut Vec<u8>) {
    for expression in expressions {
        nest(out, LIST_ELEMENT, |out| expression.emit(out));
    }
}

/// No more than the kernel takes, so that what was read can be written.
fn parse_expressions(bytes: &[u8]) -> Result<Vec<Expression>, MessageError> {
    let expressions = attrs(bytes).map(|expression| Expression::parse(expression?.1));
    let expressions = expressions.collect::<Result<Vec<_>, _>>()?;
    if expressions.len() > Rule::MAX || bytes.len() > Rule::MAX_BYTES {
        return Err(MessageError::Missing("NFTA_RULE_EXPRESSIONS"));
    }
    Ok(expressions)
}

/// The attributes that tell which chain's rules.
pub(super) fn put_chain(out: &mut Vec<u8>, chain: &ChainId) {
    put_table(out, &chain.table);
    put_name(out, attribute::CHAIN, &chain.name);
}

/// The attribute that tells which table's rules.
pub(super) fn put_table(out: &mut Vec<u8>, table: &TableId) {
    put_name(out, attribute::TABLE, &table.name);
}

/// The attribute that tells which rule of the chain.
pub(super) fn put_handle(out: &mut Vec<u8>, handle: u64) {
    put(out, attribute::HANDLE, &handle.to_be_bytes());
}

/// The attribute that tells next to which rule of the chain.
pub(super) fn put_position(out: &mut Vec<u8>, handle: u64) {
    put(out, attribute::POSITION, &handle.to_be_bytes());
}
