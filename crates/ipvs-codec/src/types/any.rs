//! Any values, for fuzzing and property tests: whatever a kernel may report and a request may carry.

use std::net::SocketAddr;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{Destination, Family, ForwardMethod, Netmask, Service, ServiceFlags, ServiceKey};

impl<'a> Arbitrary<'a> for ServiceFlags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        u.arbitrary().map(Self::from_bits_retain)
    }
}

impl<'a> Arbitrary<'a> for ForwardMethod {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        u.arbitrary().map(Self::from_number)
    }
}

impl<'a> Arbitrary<'a> for Service {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let key: ServiceKey = u.arbitrary()?;
        Ok(Self {
            key,
            scheduler: u.arbitrary()?,
            flags: u.arbitrary()?,
            timeout: u.arbitrary()?,
            netmask: match key.family() {
                Family::Ipv4 => Netmask::Ipv4(u.arbitrary()?),
                Family::Ipv6 => Netmask::Ipv6(u.int_in_range(1..=128)?),
            },
            pe: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for Destination {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            addr: SocketAddr::new(u.arbitrary()?, u.arbitrary()?),
            forward: u.arbitrary()?,
            weight: u.arbitrary()?,
            upper_threshold: u.arbitrary()?,
            lower_threshold: u.arbitrary()?,
            tunnel: u.arbitrary()?,
        })
    }
}
