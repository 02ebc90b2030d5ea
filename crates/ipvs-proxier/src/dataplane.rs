use std::net::{IpAddr, SocketAddr};

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Known, KubeSet, Operation};
use ipvs_netfilter::conntrack::Flow;

use crate::error::PlaneError;
use crate::observation::Observation;

/// A leaving real server and the connections that it still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Where it is.
    pub virtual_server: ServiceKey,
    /// Its address.
    pub real_server: SocketAddr,
    /// Active and inactive connections together.
    pub count: u64,
}

/// A part of the state that is read at once, in this order. Between two of them changes can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// The dummy link, and what is bound to it.
    Link,
    /// The virtual servers, without real servers.
    VirtualServers,
    /// The real servers of some of them; one that is gone is passed over.
    RealServers(&'a [ServiceKey]),
    /// A set, if it is there, and its members.
    Set(KubeSet, Family),
    /// The rules of a family.
    Rules(Family),
}

/// What became of an operation. Boxed, since there are many and few fail.
pub type Outcome = Result<(), Box<PlaneError>>;

/// What programs the kernel: Linux itself ([`Linux`](crate::Linux)) or a simulation of it
/// ([`Simulated`](crate::Simulated)), which obeys the same rules.
pub trait DataPlane {
    /// Reads a part of the state of some families, and puts it in the place of what was known of it.
    ///
    /// # Errors
    /// [`PlaneError`] when it cannot be read; nothing may then be concluded about any part.
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        known: &mut Known,
    ) -> Result<(), PlaneError>;

    /// Reads the state of some families, part after part.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn observe(&mut self, families: &[Family]) -> Result<Known, PlaneError> {
        let mut observation = Observation::new(families);
        while !observation.read_on(self)? {}
        Ok(observation.into_known())
    }

    /// The addresses of the node's links, but for the dummy link, loopback and IPv6 link-local ones.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read; those known before are then kept.
    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError>;

    /// The node's gateways. Asked for only where they must never be bound.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read; those known before are then kept.
    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError>;

    /// Applies operations in order and returns one outcome for each. A failed one neither stops nor undoes others.
    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome>;

    /// The tracked flows of a family.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read.
    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError>;

    /// Forgets tracked flows: one outcome for each, in order.
    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome>;

    /// The connections of the real servers of some virtual servers. One read for each virtual server.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read.
    fn connections(
        &mut self,
        virtual_servers: &[ServiceKey],
    ) -> Result<Vec<Connections>, PlaneError>;
}
