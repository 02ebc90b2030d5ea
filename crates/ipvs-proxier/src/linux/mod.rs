mod busy;
mod clean_up;
mod filter;
mod filter_backend;
mod heard;
mod iptables;
mod iptables_filter;
mod ipv6;
mod nft_filter;
mod nftables;
mod observe;
mod patience;
mod process_facts;
mod program;
mod saving;
mod signs;
mod watcher;
mod xtables_lock;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipvs_codec::{Family, Request, ServiceKey};
use ipvs_filter::FilterKind;
use ipvs_model::{Config, Known, Operation, Vip};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netlink::{
    Binding, BindingReader, Cause, Conntrack, Ipvs, IpvsReader, KernelError, Link, LinkIndex, Links,
};

use ipvs_probe::{RuleTrial, TrialOutcome};

use self::busy::{BETWEEN_ATTEMPTS, until_free};

pub use self::clean_up::LinuxCleanUp;
use self::filter::Filter;
pub use self::filter_backend::FilterBackend;
pub use self::iptables::IptablesBackend;
use self::signs::SignReader;
use self::watcher::{Wanted, Watcher};
use crate::control::Control;
use crate::dataplane::{Connections, DataPlane, Outcome, Part, Progress};
use crate::error::PlaneError;
use crate::kernel_event::{KernelEvent, Signs};

/// The name of the dummy interface that VIPs are bound to.
const LINK: &str = "kube-ipvs0";
const ENODEV: i32 = 19;
/// What IPv6 asks of a link. One that takes less, as those of field buses, leads to no real server.
const SMALLEST_MTU: u32 = 1280;
/// Requests that are put together at once: few enough to stay in the same memory.
const CHUNK: usize = 1000;

/// The kernel in the network namespace of the thread that opened it: IPVS and links by netlink, the filter by nf_tables, or
/// by ipset and `iptables-restore`. Needs `CAP_NET_ADMIN`, and for iptables `CAP_NET_RAW`.
#[derive(Debug)]
pub struct Linux {
    ipvs: Ipvs,
    links: Links,
    flows: Conntrack,
    filter: Box<dyn Filter>,
    /// Sockets of their own: what they read takes several calls.
    lister: IpvsReader,
    binding_reader: BindingReader,
    signs: SignReader,
    /// Once it listens.
    watcher: Option<Watcher>,
    /// Whether this process is to end: then nothing is waited for.
    control: Control,
}

impl Linux {
    /// Opens the connections and finds the filter to use. Changes nothing, but makes the kernel load its modules.
    ///
    /// # Errors
    /// [`PlaneError`] when IPVS or the filter cannot be used; one that [passes](PlaneError::is_passing) when others hold the lock
    /// of iptables, after a second.
    ///
    /// ```no_run
    /// use ipvs_codec::Family;
    /// use ipvs_proxier::{FilterBackend, Linux, observe};
    ///
    /// let mut plane = Linux::open(FilterBackend::Auto)?;
    /// let known = observe(&mut plane, &Family::ALL)?;
    /// println!("{} virtual servers", known.virtual_servers.len());
    /// # Ok::<(), ipvs_proxier::PlaneError>(())
    /// ```
    pub fn open(backend: impl Into<FilterBackend>) -> Result<Self, PlaneError> {
        Self::open_with(backend, &Control::new())
    }

    /// As [`open`](Self::open), but no program is waited for once the control is asked to stop, then and later.
    ///
    /// # Errors
    /// As `open`, and [`PlaneError::Stopped`].
    ///
    /// ```no_run
    /// use ipvs_proxier::{Control, FilterBackend, Linux};
    ///
    /// let control = Control::new();
    /// let plane = Linux::open_with(FilterBackend::Auto, &control)?;
    /// # Ok::<(), ipvs_proxier::PlaneError>(())
    /// ```
    pub fn open_with(
        backend: impl Into<FilterBackend>,
        control: &Control,
    ) -> Result<Self, PlaneError> {
        let filter = filter_backend::detect(backend.into(), enabled_families(), control)?;
        Ok(Self {
            ipvs: Ipvs::open()?,
            links: Links::open()?,
            flows: Conntrack::open()?,
            signs: SignReader::new(filter.is_legacy()),
            filter,
            lister: IpvsReader::open()?,
            binding_reader: BindingReader::open()?,
            watcher: None,
            control: control.clone(),
        })
    }

    /// As [`open_with`](Self::open_with), but waits for as long as others hold the lock of iptables, or for a time; that it
    /// waits is logged once.
    ///
    /// # Errors
    /// As `open_with`: an error that [passes](PlaneError::is_passing) after that time, or when the control is asked to stop.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ipvs_proxier::{Control, FilterBackend, Linux};
    ///
    /// let control = Control::new();
    /// let a_minute = Some(Duration::from_secs(60));
    /// let plane = Linux::open_when_free(FilterBackend::Auto, &control, a_minute)?;
    /// # Ok::<(), ipvs_proxier::PlaneError>(())
    /// ```
    pub fn open_when_free(
        backend: impl Into<FilterBackend>,
        control: &Control,
        at_most: Option<Duration>,
    ) -> Result<Self, PlaneError> {
        let backend = backend.into();
        until_free(control, BETWEEN_ATTEMPTS, at_most, || {
            Self::open_with(backend, control)
        })
    }

    /// The families that could be programmed when it was opened: those whose filter works; IPv6 only where the kernel has it
    /// enabled.
    #[must_use]
    pub fn families(&self) -> &[Family] {
        self.filter.families()
    }

    /// Whether this filter can take ports at random for traffic that is masqueraded.
    #[must_use]
    pub fn random_fully(&self) -> bool {
        self.filter.random_fully()
    }

    /// What its filter is made with.
    #[must_use]
    pub fn filter(&self) -> FilterKind {
        self.filter.kind()
    }

    /// What the trials of the filter said when it was opened, for [`ipvs_probe::check`]: rules can be written.
    ///
    /// ```no_run
    /// use ipvs_probe::{Facts, HostPrograms, Root};
    /// use ipvs_proxier::{FilterBackend, Linux};
    ///
    /// let linux = Linux::open(FilterBackend::Auto)?;
    /// let mut facts = Facts::gather(&Root::host(), &mut HostPrograms);
    /// facts.rules = linux.trials();
    /// # Ok::<(), ipvs_proxier::PlaneError>(())
    /// ```
    #[must_use]
    pub fn trials(&self) -> Vec<RuleTrial> {
        let works = |family: &Family| {
            let (family, works) = (of_probe(*family), TrialOutcome::Works);
            match self.filter() {
                FilterKind::Iptables => RuleTrial::new("iptables-restore", family, works),
                FilterKind::Nftables => RuleTrial::by_netlink(family, works),
            }
        };
        self.families().iter().map(works).collect()
    }

    /// IPVS itself, for what the data plane does not cover.
    pub const fn ipvs(&mut self) -> &mut Ipvs {
        &mut self.ipvs
    }

    fn apply_ipvs(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>) {
        for some in operations.chunks(CHUNK) {
            let requests: Vec<Request<'_>> = some.iter().filter_map(ipvs_request).collect();
            take(self.ipvs.batch(&requests), outcomes);
        }
    }

    /// The dummy interface, if it is there. A link of another kind that has its name is not ours.
    fn dummy(&mut self) -> Result<Option<Link>, ipvs_netlink::Error> {
        Ok(self.links.find(LINK)?.filter(|link| link.is_dummy))
    }

    fn apply_vips(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>) {
        let link = match self.dummy() {
            Ok(Some(link)) => link.index,
            found => {
                let no_link = || Cause::from(KernelError::new(ENODEV)).into();
                let mut first = found.err().map(PlaneError::from);
                outcomes.extend(
                    operations
                        .iter()
                        .map(|_| Err(Box::new(first.take().unwrap_or_else(no_link)))),
                );
                return;
            }
        };
        let bind = matches!(operations.first(), Some(Operation::BindVip { .. }));
        if bind {
            self.make_room(link, operations);
        }
        self.tell_binds(operations, !bind);
        for some in operations.chunks(CHUNK) {
            let bindings: Vec<Binding> = some.iter().filter_map(binding).collect();
            if bind {
                let done = ipv6::bind(&mut self.links, LINK, link, &bindings);
                outcomes.extend(done.into_iter().map(|outcome| outcome.map_err(Box::new)));
            } else {
                take(self.links.unbind(link, &bindings), outcomes);
            }
        }
    }

    /// An address that lost its route to somebody is dead, and bound: it comes back with its route.
    fn make_room(&mut self, link: LinkIndex, operations: &[Operation]) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        let heard = watcher.heard();
        if heard.routeless.is_empty() {
            return;
        }
        let bindings = operations.iter().filter_map(binding);
        let is_routeless = |binding: &Binding| match binding {
            Binding::Address(address) => heard.routeless.contains(address),
            _ => false,
        };
        let dead: Vec<Binding> = bindings.filter(is_routeless).collect();
        drop(heard);
        // One that is not there any more needs no room.
        let _ = self.links.unbind(link, &dead);
    }

    /// Tells whoever listens by which socket this process changes the filter: it may be another one since an answer was lost.
    fn tell_filter_port(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.heard().filter_port = self.filter.port();
        }
    }

    /// Tells whoever listens what this process binds.
    fn tell_binds(&self, operations: &[Operation], is_gone: bool) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        let addresses = operations
            .iter()
            .filter_map(|operation| match binding(operation) {
                Some(Binding::Address(address)) => Some(address),
                _ => None,
            });
        let mut heard = watcher.heard();
        // The socket may be another one since an answer was lost.
        heard.own_port = self.links.port();
        heard.binds(addresses, is_gone);
    }

    fn apply_one(&mut self, operation: &Operation) -> Result<(), PlaneError> {
        match operation {
            Operation::EnsureLink { up } => {
                if let Some(watcher) = &self.watcher {
                    watcher.heard().expect_link(*up);
                }
                let link = self.links.ensure_dummy(LINK)?;
                if !link.is_dummy {
                    return Err(PlaneError::NoDummy { name: LINK });
                }
                if *up && !link.up {
                    self.links.set_up(link.index)?;
                }
            }
            Operation::CreateSet { set, family } => {
                self.signs.ask_for_all();
                self.filter.create_set(*set, *family)?;
            }
            Operation::DestroySet { set, family, .. } => {
                self.signs.ask_for_all();
                self.filter.destroy_set(*set, *family)?;
            }
            Operation::WriteRules { shape, .. } | Operation::ReleaseSets { shape, .. } => {
                self.signs.ask_for_all();
                self.filter.write(shape, &self.control)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What applies an operation. Neighbours of one kind go out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applier {
    Ipvs,
    Members,
    Bind,
    Unbind,
    /// One at a time.
    Alone,
}

const fn applier(operation: &Operation) -> Applier {
    match operation {
        Operation::AddMember { .. } | Operation::RemoveMember { .. } => Applier::Members,
        Operation::BindVip { .. } => Applier::Bind,
        Operation::UnbindVip { .. } => Applier::Unbind,
        _ if ipvs_request(operation).is_some() => Applier::Ipvs,
        _ => Applier::Alone,
    }
}

const fn ipvs_request(operation: &Operation) -> Option<Request<'_>> {
    Some(match operation {
        Operation::AddVirtualServer { service } => Request::NewService(service),
        Operation::SetVirtualServer { service } => Request::SetService(service),
        Operation::RemoveVirtualServer { virtual_server } => Request::DelService(virtual_server),
        Operation::AddRealServer {
            virtual_server,
            real_server,
        } => Request::NewDest(virtual_server, real_server),
        Operation::SetRealServer {
            virtual_server,
            real_server,
        }
        | Operation::DrainRealServer {
            virtual_server,
            real_server,
        } => Request::SetDest(virtual_server, real_server),
        Operation::RemoveRealServer {
            virtual_server,
            address,
        } => Request::DelDest(virtual_server, *address),
        _ => return None,
    })
}

const fn binding(operation: &Operation) -> Option<Binding> {
    match operation {
        Operation::BindVip { vip } | Operation::UnbindVip { vip } => Some(binding_of(*vip)),
        _ => None,
    }
}

const fn binding_of(vip: Vip) -> Binding {
    match vip {
        Vip::Address { address } => Binding::Address(address),
        Vip::Route {
            address,
            source,
            mtu,
        } => Binding::Route {
            address,
            source,
            mtu,
        },
    }
}

/// What failed is named by its operation: of the error its cause counts.
fn take(done: Vec<ipvs_netlink::Outcome>, outcomes: &mut Vec<Outcome>) {
    outcomes.extend(
        done.into_iter()
            .map(|outcome| outcome.map_err(|error| Box::new(Cause::from(error).into()))),
    );
}

impl DataPlane for Linux {
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        self.read_part(part, families, found)
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        if let Some(watcher) = &self.watcher {
            // What it followed is at hand; should it lack something, it tells so soon.
            watcher.read_again();
            let addresses = watcher.heard().addresses();
            if let Some(addresses) = addresses {
                return Ok(addresses);
            }
        }
        let link = self.dummy()?.map(|link| link.index);
        let addresses = self.links.addresses_except(link)?.into_iter();
        Ok(addresses.map(|(_, address)| address).collect())
    }

    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError> {
        Ok(self.links.smallest_mtu(SMALLEST_MTU)?)
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        let followed = self.watcher.as_ref();
        if let Some(gateways) = followed.and_then(|watcher| watcher.heard().gateways.clone()) {
            return Ok(gateways);
        }
        Ok(self.links.gateways()?)
    }

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        Ok(self.flows.flows(family)?)
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(flows.len());
        take(self.flows.delete(flows), &mut outcomes);
        outcomes
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for group in operations.chunk_by(|a, b| applier(a) == applier(b)) {
            self.tell_filter_port();
            match group.first().map_or(Applier::Alone, applier) {
                Applier::Ipvs => self.apply_ipvs(group, &mut outcomes),
                Applier::Members => {
                    self.signs.ask_for_all();
                    self.filter.apply(group, &mut outcomes);
                }
                Applier::Bind | Applier::Unbind => self.apply_vips(group, &mut outcomes),
                Applier::Alone => {
                    outcomes.extend(
                        group
                            .iter()
                            .map(|operation| self.apply_one(operation).map_err(Box::new)),
                    );
                }
            }
        }
        outcomes
    }

    fn connections(
        &mut self,
        virtual_servers: &[ServiceKey],
    ) -> Result<Vec<Connections>, PlaneError> {
        let mut connections = Vec::new();
        for virtual_server in virtual_servers {
            for observed in self.ipvs.destinations(virtual_server)? {
                connections.push(Connections {
                    virtual_server: *virtual_server,
                    real_server: observed.destination.addr,
                    count: u64::from(observed.active_connections)
                        .saturating_add(u64::from(observed.inactive_connections)),
                });
            }
        }
        Ok(connections)
    }

    fn hurry(&mut self) {
        self.filter.hurry();
    }

    fn listen(&mut self, config: &Config, control: &Control) -> Result<(), PlaneError> {
        let wanted = Wanted {
            families: config.families.clone(),
            gateways: config.never_bind.gateways,
            rules: !self.filter.is_legacy(),
        };
        let watcher = Watcher::start(wanted, control)?;
        watcher.heard().own_port = self.links.port();
        self.watcher = Some(watcher);
        self.tell_filter_port();
        Ok(())
    }

    fn is_listening(&self) -> bool {
        self.watcher.is_some()
    }

    fn kernel_events(&mut self) -> Result<Vec<KernelEvent>, PlaneError> {
        let watcher = self.watcher.as_ref();
        watcher.map_or_else(|| Ok(Vec::new()), Watcher::take)
    }

    fn signs(&mut self) -> Result<Signs, PlaneError> {
        self.signs.read(self.filter.ipsets())
    }
}

/// IPv6 can be missing or switched off.
fn enabled_families() -> &'static [Family] {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let ipv6 =
        Path::new("/proc/net/if_inet6").exists() && disabled.is_ok_and(|value| value.trim() != "1");
    if ipv6 { &Family::ALL } else { &[Family::Ipv4] }
}

/// How the probe calls a family.
const fn of_probe(family: Family) -> ipvs_probe::Family {
    match family {
        Family::Ipv4 => ipvs_probe::Family::Ipv4,
        Family::Ipv6 => ipvs_probe::Family::Ipv6,
    }
}
