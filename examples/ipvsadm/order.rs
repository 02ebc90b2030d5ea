//! The order in which ipvsadm 1.31 lists, which scripts compare.
//!
//! It subtracts numbers of 32 bits and looks at the sign of the difference, so what is 2^31 or more apart comes the other way
//! round. That is no order, since a < b < c < a can be. The list is then as the merge sort of glibc's `qsort` leaves it.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use ipvs_codec::{Family, ServiceKey};

/// Sorts virtual servers.
pub(crate) fn by_key<T>(servers: Vec<T>, key: impl Fn(&T) -> ServiceKey) -> Vec<T> {
    merge_sort(servers, &|a, b| order_of_keys(key(a), key(b)))
}

/// Sorts the real servers of one virtual server.
pub(crate) fn by_address<T>(servers: Vec<T>, address: impl Fn(&T) -> SocketAddr) -> Vec<T> {
    merge_sort(servers, &|a, b| order_of_addresses(address(a), address(b)))
}

/// Compares as ipvsadm does: by the sign of the wrapped difference.
fn difference(a: u32, b: u32) -> Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

/// By mark, 0 for none; then IPv4 before IPv6; then by protocol, address and port.
fn order_of_keys(a: ServiceKey, b: ServiceKey) -> Ordering {
    let mark = |key| match key {
        ServiceKey::Fwmark { mark, .. } => mark.get(),
        ServiceKey::Endpoint { .. } => 0,
    };
    let order = difference(mark(a), mark(b)).then(a.family().cmp(&b.family()));
    let (
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        },
        ServiceKey::Endpoint {
            protocol: other_protocol,
            addr: other_addr,
            port: other_port,
        },
    ) = (a, b)
    else {
        return order;
    };
    order
        .then(protocol.number().cmp(&other_protocol.number()))
        .then_with(|| order_of_addresses((addr, port).into(), (other_addr, other_port).into()))
}

/// As many words are compared as the first address has; those of an IPv4 address are itself and zeros.
fn order_of_addresses(a: SocketAddr, b: SocketAddr) -> Ordering {
    let compared = match Family::of(a.ip()) {
        Family::Ipv4 => 1,
        Family::Ipv6 => 4,
    };
    let pairs = words(a.ip()).into_iter().zip(words(b.ip()));
    let mut differences = pairs.take(compared).map(|(a, b)| difference(a, b));
    differences
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
        .then(a.port().cmp(&b.port()))
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            [[a, b], [c, d], [e, f], [g, h]]
                .map(|[high, low]| (u32::from(high) << 16) | u32::from(low))
        }
    }
}

/// Not `sort_by`, which may panic where there is no order.
fn merge_sort<T>(mut items: Vec<T>, order: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() <= 1 {
        return items;
    }
    let behind = items.split_off(items.len() / 2);
    let mut sorted = Vec::with_capacity(items.len() + behind.len());
    let mut front = merge_sort(items, order).into_iter().peekable();
    let mut behind = merge_sort(behind, order).into_iter().peekable();
    while let Some((a, b)) = front.peek().zip(behind.peek()) {
        let next = if order(a, b).is_le() {
            &mut front
        } else {
            &mut behind
        };
        sorted.extend(next.next());
    }
    sorted.extend(front);
    sorted.extend(behind);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipvs_codec::Protocol;
    use proptest::prelude::*;

    fn sorted(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let sorted = by_address(addresses.collect(), |address: &SocketAddr| *address);
        sorted.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_far_apart_comes_the_other_way_round() {
        let order = ["198.51.100.200:80", "10.96.0.10:80", "10.96.0.10:81"];
        assert_eq!(sorted(&["10.96.0.10:81", order[1], order[0]]), order);
        let order = ["[fe80::1]:80", "[2001:db8::1]:80"];
        assert_eq!(sorted(&[order[1], order[0]]), order);
        let order = ["[fd00:2::2]:0", "10.0.1.2:0"];
        assert_eq!(sorted(&[order[1], order[0]]), order);
    }

    #[test]
    fn marks_come_behind_endpoints_and_ipv4_before_ipv6() {
        let endpoint =
            |protocol, address: &str| ServiceKey::endpoint(protocol, address.parse().unwrap(), 80);
        let mark = |family, mark| ServiceKey::fwmark(family, mark).unwrap();
        let order = [
            mark(Family::Ipv4, 0x8000_0001),
            endpoint(Protocol::TCP, "10.0.0.2"),
            endpoint(Protocol::UDP, "10.0.0.1"),
            endpoint(Protocol::TCP, "2001:db8::1"),
            mark(Family::Ipv4, 7),
            mark(Family::Ipv6, 7),
        ];
        let mut mixed = order.to_vec();
        mixed.reverse();
        assert_eq!(by_key(mixed, |key| *key), order);
    }

    proptest! {
        /// Nothing is lost or doubled, whatever the comparison says.
        #[test]
        fn all_come_once(addresses: Vec<SocketAddr>) {
            let mut sorted = by_address(addresses.clone(), |address| *address);
            let mut addresses = addresses;
            sorted.sort_unstable();
            addresses.sort_unstable();
            prop_assert_eq!(sorted, addresses);
        }
    }
}
