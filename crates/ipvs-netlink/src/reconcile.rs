//! Making the kernel's table equal to a list.

use ipvs_codec::{Change, ServiceKey, VirtualServer, diff};

use crate::error::{Error, Outcome};
use crate::ipvs::Ipvs;
use crate::reader::ObservedVirtualServer;

impl From<ObservedVirtualServer> for VirtualServer {
    /// Without counters.
    fn from(observed: ObservedVirtualServer) -> Self {
        let destinations = observed.destinations.into_iter();
        let real_servers = destinations.map(|observed| observed.destination);
        Self::new(observed.service.service, real_servers.collect())
    }
}

/// What [`Ipvs::reconcile`] did: each change with what became of it, in order.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reconciled {
    /// The changes; none if the table was as wanted.
    pub changes: Vec<(Change, Outcome)>,
}

impl Reconciled {
    /// What failed. Each error names its object.
    pub fn failures(&self) -> impl Iterator<Item = &Error> {
        let outcomes = self.changes.iter();
        outcomes.filter_map(|(_, outcome)| outcome.as_ref().err())
    }

    /// Whether the table is as wanted now.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failures().next().is_none()
    }
}

impl Ipvs {
    /// Makes the virtual servers of this namespace equal to `wanted`, with as few changes as it takes and in an order in which
    /// a virtual server that has a real server before and after has one all the time ([`diff`]). One that is not wanted is
    /// removed where `may_remove` allows it: say which ones are yours. A change that is refused does not stop the others.
    ///
    /// Costs a [`snapshot`](Self::snapshot) and a batch: a request for each virtual server that is there, and one for each
    /// change. Others may change the table between the two: call it again until nothing is left to do. A program that keeps a large table follows what it has changed itself instead; see `ipvs-proxier`.
    ///
    /// ```no_run
    /// use ipvs_codec::{Destination, Protocol, Scheduler, Service, ServiceKey, VirtualServer};
    /// use ipvs_netlink::Ipvs;
    ///
    /// let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse()?, 80);
    /// let real_servers = vec![Destination::new("10.244.1.5:8080".parse()?)];
    /// let wanted = [VirtualServer::new(Service::new(key, Scheduler::RR), real_servers)];
    /// let mine = |key: &ServiceKey| matches!(key, ServiceKey::Endpoint { port: 80, .. });
    /// let done = Ipvs::open()?.reconcile(&wanted, mine)?;
    /// for (change, outcome) in &done.changes {
    ///     println!("{change}: {outcome:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the table cannot be read; nothing was changed then.
    pub fn reconcile(
        &mut self,
        wanted: &[VirtualServer],
        may_remove: impl Fn(&ServiceKey) -> bool,
    ) -> Result<Reconciled, Error> {
        let observed = self.snapshot()?.into_iter().map(VirtualServer::from);
        let changes = diff(&observed.collect::<Vec<_>>(), wanted, may_remove);
        let requests: Vec<_> = changes.iter().map(Change::request).collect();
        let outcomes = self.batch(&requests);
        let changes = changes.into_iter().zip(outcomes).collect();
        Ok(Reconciled { changes })
    }
}
