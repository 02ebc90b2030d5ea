use std::net::{IpAddr, SocketAddr};

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Config, FilterSet, Known, Operation};
use ipvs_netfilter::conntrack::Flow;

use crate::control::Control;
use crate::error::PlaneError;
use crate::kernel_event::{KernelEvent, Signs};

/// A real server and the connections that it still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Where it is.
    pub virtual_server: ServiceKey,
    /// Its address.
    pub real_server: SocketAddr,
    /// Active and inactive connections together.
    pub count: u64,
}

/// A part of the state that is read at once. Between two of them changes can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Nothing yet: what was read halfway is forgotten, but for rules.
    Start,
    /// Nothing yet: rules that were read halfway are forgotten.
    StartRules,
    /// The dummy interface, and some of what is bound to it. Where it takes several calls, what changes meanwhile may be among it
    /// or not.
    Link,
    /// The next chunk of the list of virtual servers, without real servers. Where it takes several, some may be missing
    /// or outdated.
    List,
    /// Some virtual servers, without real servers; none for one that is not there.
    VirtualServers(&'a [ServiceKey]),
    /// The real servers of some of them.
    RealServers(&'a [ServiceKey]),
    /// A set, if it is there, and some of its entries, as above.
    Set(FilterSet, Family),
    /// The rules of a family.
    Rules(Family),
}

/// How far something is that is done bit by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T = ()> {
    /// There is more to do.
    More,
    /// There is more to do, and it waits for something: ask again in some milliseconds, or when the data plane has woken the
    /// run ([`Control::wake`](crate::Control::wake)).
    Waiting,
    /// It is done.
    Done(T),
}

impl<T> Progress<T> {
    /// What came of it, if it is done.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(result) => Some(result),
            Self::More | Self::Waiting => None,
        }
    }
}

/// What became of an operation. Boxed, since there are many and few fail.
pub type Outcome = Result<(), Box<PlaneError>>;

/// What programs the kernel: Linux itself ([`Linux`](crate::Linux)) or a simulation of it
/// ([`Simulated`](crate::Simulated)), which obeys the same rules.
pub trait DataPlane {
    /// Reads a part of the state of some families into `found`, which has nothing of it, or what the calls before gave of
    /// it; for real servers it has their virtual servers. What [takes several calls](Progress::More) leaves time for changes
    /// in between.
    ///
    /// # Errors
    /// [`PlaneError`] when it cannot be read. After [`Part::Start`] and [`Part::StartRules`] other parts can be
    /// read all the same.
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError>;

    /// The addresses of the node's links, but for the dummy interface, loopback and IPv6 link-local ones.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read; those known before are then kept.
    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError>;

    /// The smallest MTU of the node's links that are up, without loopback, dummy interfaces and those of less than 1,280 bytes;
    /// none if there is no such link. Asked for only where VIPs are routes.
    ///
    /// # Errors
    /// [`PlaneError`] when it cannot be read; the one known before is then kept.
    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError>;

    /// The node's gateways. Asked for only where they must never be bound.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read; those known before are then kept.
    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError>;

    /// Applies operations in order and returns one outcome for each. A failed one neither stops nor undoes others.
    /// An error with a number ([`PlaneError::errno`]) says that it was not done; any other leaves that open.
    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome>;

    /// The conntrack entries of a family.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read.
    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError>;

    /// Deletes conntrack entries: one outcome for each, in order.
    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome>;

    /// The connections of the real servers of some virtual servers. One read for each virtual server.
    ///
    /// # Errors
    /// [`PlaneError`] when they cannot be read.
    fn connections(
        &mut self,
        virtual_servers: &[ServiceKey],
    ) -> Result<Vec<Connections>, PlaneError>;

    /// What is read next is urgent: others have changed it, and something is wrong until it was read.
    fn hurry(&mut self) {}

    /// Begins to listen to what others change, for a node that is configured so, and from then on [wakes](Control::wake) whoever
    /// waits when there are [events](Self::kernel_events). Asked for once, before anything is read.
    ///
    /// # Errors
    /// [`PlaneError`] when it cannot listen. Everything else goes on; what others change is found by the next resync.
    fn listen(&mut self, config: &Config, control: &Control) -> Result<(), PlaneError> {
        let _ = (config, control);
        Ok(())
    }

    /// Whether it listens: then a resync that finds nothing may make the next one come later.
    fn is_listening(&self) -> bool {
        false
    }

    /// What others changed since the last call. Never waits; O(1) however many notifications there were.
    ///
    /// # Errors
    /// [`PlaneError`] when it will never hear of anything again, which ends a [`run`](crate::run).
    fn kernel_events(&mut self) -> Result<Vec<KernelEvent>, PlaneError> {
        Ok(Vec::new())
    }

    /// Cheap signs of what is there, for what the kernel notifies nobody of: a few system calls.
    ///
    /// # Errors
    /// [`PlaneError`] when the kernel cannot be asked.
    fn signs(&mut self) -> Result<Signs, PlaneError> {
        Ok(Signs::default())
    }
}
