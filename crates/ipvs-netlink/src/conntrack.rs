use ipvs_codec::Family;
use ipvs_netfilter::conntrack::{Flow, Request};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::connection::{Connection, Head};
use crate::error::{Error, Outcome};
use crate::ipvs::malformed;
use crate::namespace::NetworkNamespace;

/// The tracked connections of a network namespace.
///
/// ```no_run
/// use ipvs_codec::Family;
/// use ipvs_netlink::Conntrack;
///
/// let mut conntrack = Conntrack::open()?;
/// let mut flows = conntrack.flows(Family::Ipv4)?;
/// flows.retain(|flow| flow.original.ports.is_some_and(|(_, port)| port == 53));
/// for outcome in conntrack.delete(&flows) {
///     // `ENOENT`: it has ended by itself.
///     assert!(outcome.is_ok() || outcome.is_err_and(|cause| cause.is_not_found()));
/// }
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug)]
pub struct Conntrack {
    connection: Connection,
}

impl Conntrack {
    /// Opens a connection in the network namespace of this thread.
    ///
    /// # Errors
    /// [`Cause::Io`](crate::Cause::Io) when the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Self::open_at(None)
    }

    /// Opens a connection in another network namespace.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `EPERM` without `CAP_SYS_ADMIN`, which entering it takes.
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Self::open_at(Some(namespace))
    }

    fn open_at(namespace: Option<&NetworkNamespace>) -> Result<Self, Error> {
        let connection = Connection::open(NETLINK_NETFILTER, namespace)
            .map_err(|cause| Error::new("open conntrack", cause))?;
        Ok(Self { connection })
    }

    /// The flows of a family. The table changes all the time: one that begins or ends meanwhile may be there or not.
    ///
    /// # Errors
    /// `EINVAL` without the module `nf_conntrack_netlink`; whatever else the kernel refuses.
    pub fn flows(&mut self, family: Family) -> Result<Vec<Flow>, Error> {
        let mut flows = Vec::new();
        let request = match family {
            Family::Ipv4 => Request::DumpIpv4,
            Family::Ipv6 => Request::DumpIpv6,
        };
        self.connection
            .dump(
                |out| write(&request, out),
                |message| {
                    flows.push(Flow::parse(message).map_err(malformed)?);
                    Ok(())
                },
            )
            .map_err(|cause| Error::new(format!("list {family} flows"), cause))?;
        Ok(flows)
    }

    /// Forgets flows: one outcome for each, in order. One that is gone, or whose place another has taken, is not
    /// found.
    pub fn delete(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        let outcomes = self
            .connection
            .batch(flows, |flow, out| write(&Request::Delete(flow), out));
        let outcomes = outcomes.into_iter().zip(flows);
        outcomes
            .map(|(outcome, flow)| {
                let destination = flow.original.destination;
                outcome
                    .map_err(|cause| Error::new(format!("delete a flow to {destination}"), cause))
            })
            .collect()
    }
}

fn write(request: &Request<'_>, out: &mut Vec<u8>) -> Head {
    request.emit(out);
    Head::new(request.message_type())
}
