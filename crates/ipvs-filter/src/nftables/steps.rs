//! Steps of rules, by what they ask or do. Steps that load begin at the first register.

use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::Family;
use ipvs_model::{AddressAndPort, FilterSet, InterfaceName, LocalPods};
use ipvs_netfilter::nftables::{
    Comparison, CtKey, Expression, FibResult, FixedName, MetaKey, PayloadBase, Register, Reject,
    Value, Verdict,
};

use super::names::set_name;
use crate::protocol_byte;

/// Bytes of an interface's name in a register (`IFNAMSIZ`).
const INTERFACE_NAME: usize = 16;

/// Steps of one rule, for one family.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    family: Family,
    done: Vec<Expression>,
}

impl Steps {
    pub(super) const fn of(family: Family) -> Self {
        Self {
            family,
            done: Vec::new(),
        }
    }

    pub(super) fn into_expressions(self) -> Vec<Expression> {
        self.done
    }

    fn then(mut self, step: Expression) -> Self {
        self.done.push(step);
        self
    }

    fn equals(self, value: Value) -> Self {
        self.compares(Comparison::Equal, value)
    }

    fn compares(self, how: Comparison, value: Value) -> Self {
        self.then(Expression::Compare {
            register: Register::FIRST,
            how,
            value,
        })
    }

    const fn is_ipv6(&self) -> bool {
        matches!(self.family, Family::Ipv6)
    }

    const fn address_bytes(&self) -> usize {
        if self.is_ipv6() { 16 } else { 4 }
    }

    const fn source_offset(&self) -> u32 {
        if self.is_ipv6() { 8 } else { 12 }
    }

    const fn destination_offset(&self) -> u32 {
        if self.is_ipv6() { 24 } else { 16 }
    }

    /// Loads `length` bytes of the IP header.
    fn header(self, offset: u32, length: usize, to: Register) -> Self {
        self.then(Expression::Payload {
            base: PayloadBase::NETWORK,
            offset,
            // An address at most.
            length: u32::try_from(length).unwrap_or(u32::MAX),
            to,
        })
    }

    fn destination(self, to: Register) -> Self {
        let (offset, length) = (self.destination_offset(), self.address_bytes());
        self.header(offset, length, to)
    }

    /// `meta l4proto . th dport` from a register on.
    fn transport(self, to: Register) -> Self {
        let steps = self.then(Expression::Meta {
            key: MetaKey::PROTOCOL,
            to,
        });
        match to.after(1) {
            Some(to) => steps.port(to),
            None => steps,
        }
    }

    /// `th dport`.
    fn port(self, to: Register) -> Self {
        self.then(Expression::Payload {
            base: PayloadBase::TRANSPORT,
            offset: 2,
            length: 2,
            to,
        })
    }

    fn lookup(self, set: FilterSet, inverted: bool) -> Self {
        self.then(Expression::Lookup {
            set: set_name(set).into(),
            register: Register::FIRST,
            inverted,
        })
    }

    /// The set has the packet's destination address, protocol and port.
    pub(super) fn endpoint_in(self, set: FilterSet) -> Self {
        let behind = Register::FIRST.after(self.address_bytes());
        let steps = self.destination(Register::FIRST);
        match behind {
            Some(behind) => steps.transport(behind).lookup(set, false),
            None => steps,
        }
    }

    /// The set has the packet's destination address, protocol, port and source address.
    pub(super) fn endpoint_and_source_in(self, set: FilterSet) -> Self {
        let bytes = self.address_bytes();
        let protocol = Register::FIRST.after(bytes);
        let source = protocol.and_then(|register| register.after(8));
        let steps = self.destination(Register::FIRST);
        let (Some(protocol), Some(source)) = (protocol, source) else {
            return steps;
        };
        let offset = steps.source_offset();
        steps
            .transport(protocol)
            .header(offset, bytes, source)
            .lookup(set, false)
    }

    /// The packet is of a protocol.
    fn protocol(self, protocol: u8) -> Self {
        self.then(Expression::Meta {
            key: MetaKey::PROTOCOL,
            to: Register::FIRST,
        })
        .equals(Value::byte(protocol))
    }

    /// The packet is of a protocol, and the set has its destination port.
    pub(super) fn port_in(self, protocol: u8, set: FilterSet) -> Self {
        self.protocol(protocol)
            .port(Register::FIRST)
            .lookup(set, false)
    }

    /// The packet goes to this address, protocol and port.
    pub(super) fn endpoint_is(self, served: AddressAndPort) -> Self {
        let protocol = protocol_byte(served.protocol);
        self.destination(Register::FIRST)
            .equals(Value::ip(served.address))
            .protocol(protocol)
            .port(Register::FIRST)
            .equals(Value::port(served.port))
    }

    /// The set has not the packet's destination address.
    pub(super) fn destination_not_in(self, set: FilterSet) -> Self {
        self.destination(Register::FIRST).lookup(set, true)
    }

    /// The set has the packet's source address.
    pub(super) fn source_in(self, set: FilterSet) -> Self {
        let (offset, length) = (self.source_offset(), self.address_bytes());
        self.header(offset, length, Register::FIRST)
            .lookup(set, false)
    }

    /// The packet comes from a network, or not. Whole bytes of a prefix are compared as they are, others under a mask, as
    /// `nft` does it.
    fn source(self, network: IpNet, how: Comparison) -> Self {
        let address = Value::ip(network.network());
        let bits = usize::from(network.prefix_len());
        let offset = self.source_offset();
        if bits > 0 && bits % 8 == 0 {
            let length = bits.div_euclid(8);
            let value = address.prefix(length).unwrap_or(address);
            return self
                .header(offset, length, Register::FIRST)
                .compares(how, value);
        }
        let mask = Value::ip(network.netmask());
        self.header(offset, mask.len(), Register::FIRST)
            .then(Expression::Bitwise {
                from: Register::FIRST,
                to: Register::FIRST,
                mask,
                xor: zeros(mask.len()),
            })
            .compares(how, address)
    }

    /// The packet comes from this network.
    pub(super) fn comes_from(self, network: IpNet) -> Self {
        self.source(network, Comparison::Equal)
    }

    /// The packet does not come from a pod of this node.
    pub(super) fn not_from_pods(self, pods: &LocalPods) -> Self {
        match pods {
            LocalPods::Network(network) => self.source(*network, Comparison::NotEqual),
            LocalPods::Bridge(name) => self.in_interface(interface(name, INTERFACE_NAME)),
            LocalPods::InterfacePrefix(prefix) => {
                self.in_interface(interface(prefix, prefix.as_str().len()))
            }
        }
    }

    fn in_interface(self, other_than: Value) -> Self {
        self.then(Expression::Meta {
            key: MetaKey::IN_INTERFACE,
            to: Register::FIRST,
        })
        .compares(Comparison::NotEqual, other_than)
    }

    /// The packet goes to an address of this node.
    pub(super) fn local_destination(self) -> Self {
        self.then(Expression::Fib {
            result: FibResult::ADDRESS_TYPE,
            flags: Expression::FIB_DESTINATION,
            to: Register::FIRST,
        })
        .equals(Value::host(Expression::ADDRESS_LOCAL))
    }

    /// The packet is the first of its connection.
    pub(super) fn begins_connection(self) -> Self {
        self.then(Expression::Ct {
            key: CtKey::STATE,
            direction: None,
            to: Register::FIRST,
        })
        .masked(Expression::STATE_NEW, 0)
        .compares(Comparison::NotEqual, Value::host(0))
    }

    /// The packet has none of these bits in its mark.
    pub(super) fn unmarked(self, mark: u32) -> Self {
        self.load_mark().masked(mark, 0).equals(Value::host(0))
    }

    /// Sets these bits of the packet's mark.
    pub(super) fn set_mark(self, mark: u32) -> Self {
        self.load_mark().masked(!mark, mark).store_mark()
    }

    /// Turns over these bits of the packet's mark.
    pub(super) fn flip_mark(self, mark: u32) -> Self {
        self.load_mark().masked(u32::MAX, mark).store_mark()
    }

    fn load_mark(self) -> Self {
        self.then(Expression::Meta {
            key: MetaKey::MARK,
            to: Register::FIRST,
        })
    }

    fn store_mark(self) -> Self {
        self.then(Expression::SetMeta {
            key: MetaKey::MARK,
            from: Register::FIRST,
        })
    }

    fn masked(self, mask: u32, xor: u32) -> Self {
        self.then(Expression::Bitwise {
            from: Register::FIRST,
            to: Register::FIRST,
            mask: Value::host(mask),
            xor: Value::host(xor),
        })
    }

    pub(super) fn returns(self) -> Self {
        self.then(Expression::Verdict(Verdict::Return))
    }

    pub(super) fn jumps(self, chain: FixedName) -> Self {
        self.then(Expression::Verdict(Verdict::Jump(chain.into())))
    }

    pub(super) fn drops(self) -> Self {
        self.then(Expression::Verdict(Verdict::Drop))
    }

    /// Refuses with "port unreachable".
    pub(super) fn refuses(self) -> Self {
        let code = if self.is_ipv6() { 4 } else { 3 };
        self.then(Expression::Reject(Reject::Unreachable(code)))
    }

    pub(super) fn masquerades(self, fully_random: bool) -> Self {
        let flags = if fully_random {
            Expression::FULLY_RANDOM
        } else {
            0
        };
        self.then(Expression::Masquerade { flags })
    }
}

/// An address of zeros of so many bytes: 4 or 16.
fn zeros(length: usize) -> Value {
    let address: IpAddr = if length == 4 {
        [0_u8; 4].into()
    } else {
        [0_u8; 16].into()
    };
    Value::ip(address)
}

/// The beginning of an interface's name, filled with zeros.
fn interface(name: &InterfaceName, length: usize) -> Value {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(length.max(1), 0);
    Value::from_bytes(&bytes).unwrap_or_else(|| Value::byte(0))
}
