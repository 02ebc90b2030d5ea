//! A thread that hears what others change in the kernel, and wakes whoever drives the proxier.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipvs_codec::Family;
use ipvs_netlink::{
    Cause, Heard as Received, LinkEvent, LinkGroup, LinkNotifications, Links, Notification,
    RuleNotifications,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::readlink;
use tracing::{info, warn};

use super::LINK;
use super::heard::{Heard, NodeRead, Who};
use crate::control::Control;
use crate::error::PlaneError;
use crate::kernel_event::{ChangedBy, KernelEvent};
use crate::own_processes;
use crate::thread::LastingThread;

/// Between two times in which somebody is woken: a storm wakes him now and then, not with each notification.
const BETWEEN_WAKES: Duration = Duration::from_millis(5);
/// Routes come in numbers, and gateways are read with all of them.
const BETWEEN_GATEWAYS: Duration = Duration::from_millis(50);
/// Before sockets are opened anew, or what changed while it was read is read again.
const RETRY: Duration = Duration::from_secs(1);
/// The process namespace of the machine itself (`PROC_PID_INIT_INO`). In another one a netlink port says nothing of who it is.
const FIRST_PROCESSES: &[u8] = b"pid:[4026531836]";

/// What is listened to.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) families: Vec<Family>,
    pub(super) gateways: bool,
    /// Rules of iptables-nft; of iptables-legacy the kernel tells nothing.
    pub(super) rules: bool,
}

#[derive(Debug)]
pub(super) struct Watcher {
    heard: Arc<Mutex<Heard>>,
    thread: LastingThread,
    /// Written to when the thread is to end.
    stop: Arc<OwnedFd>,
    /// Written to when it is to read the node again.
    ask: Arc<OwnedFd>,
}

impl Watcher {
    /// Listens in the network namespace of this thread.
    pub(super) fn start(wanted: Wanted, control: &Control) -> Result<Self, PlaneError> {
        let mut sockets = Sockets::open(&wanted)?;
        let mut heard = Heard::default();
        heard.read_again(Instant::now());
        heard.read(sockets.read_node(&wanted)?);
        let heard = Arc::new(Mutex::new(heard));
        let failed = |error: std::io::Error| PlaneError::Deaf {
            reason: error.to_string(),
        };
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let stop = Arc::new(stop);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let ask = eventfd(0, flags).map_err(|error| failed(error.into()))?;
        let ask = Arc::new(ask);
        let listening = Listening {
            wanted,
            heard: Arc::clone(&heard),
            stop: Arc::clone(&stop),
            ask: Arc::clone(&ask),
            control: control.clone(),
            who: Processes::new(),
        };
        let woken = control.clone();
        let work = move || listening.run(sockets);
        let thread = LastingThread::start("kernel-events", work, move || woken.wake());
        Ok(Self {
            heard,
            thread: thread.map_err(failed)?,
            stop,
            ask,
        })
    }

    /// Has the node read again, soon and on the thread. Not more often than is good.
    pub(super) fn read_again(&self) {
        if self.heard().read_again(Instant::now()) {
            // It is full only if the thread has read nothing for ever.
            let _ = rustix::io::write(&*self.ask, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// What was heard since the last call.
    pub(super) fn take(&self) -> Result<Vec<KernelEvent>, PlaneError> {
        match self.thread.ended() {
            None => Ok(self.heard().take()),
            Some(reason) => Err(PlaneError::Deaf {
                reason: reason.to_owned(),
            }),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It is not full: nobody else writes to it.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
    }
}

/// What was heard is whole at any time, so that of a thread that panicked is as good.
fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Sockets {
    links: LinkNotifications,
    rules: Option<RuleNotifications>,
    asking: Links,
}

impl Sockets {
    fn open(wanted: &Wanted) -> Result<Self, ipvs_netlink::Error> {
        let of_family =
            |family: &Family| [LinkGroup::Addresses(*family), LinkGroup::Routes(*family)];
        let groups = wanted.families.iter().flat_map(of_family);
        let groups: Vec<LinkGroup> = groups.chain([LinkGroup::Links]).collect();
        Ok(Self {
            links: LinkNotifications::open(&groups)?,
            rules: wanted.rules.then(RuleNotifications::open).transpose()?,
            asking: Links::open()?,
        })
    }

    /// Off the thread that changes wait for: a node may have thousands of addresses and routes.
    fn read_node(&mut self, wanted: &Wanted) -> Result<NodeRead, ipvs_netlink::Error> {
        let dummy = self.asking.find(LINK)?.filter(|link| link.is_dummy);
        let index = dummy.map(|link| link.index);
        let mut addresses = self.asking.addresses_except(index)?;
        addresses.retain(|(_, address)| wanted.families.contains(&Family::of(*address)));
        Ok(NodeRead {
            dummy: dummy.map(|link| (link.index, link.up)),
            addresses,
            gateways: wanted
                .gateways
                .then(|| self.asking.gateways())
                .transpose()?,
        })
    }
}

#[derive(Debug)]
struct Listening {
    wanted: Wanted,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<OwnedFd>,
    ask: Arc<OwnedFd>,
    control: Control,
    who: Processes,
}

/// When something is to be read; never, if there is none.
#[derive(Debug, Default)]
struct Due {
    gateways: Option<Instant>,
    /// Not before that, where the facts of the node are outdated.
    node: Option<Instant>,
}

/// How a wait ended.
enum Waited {
    Heard,
    Stopped,
}

impl Listening {
    /// Until it is to end; why it has ended.
    fn run(self, mut sockets: Sockets) -> String {
        let (mut due, mut loss) = (Due::default(), Loss::default());
        loop {
            match self.wait(&sockets, &due) {
                Ok(Waited::Heard) => {}
                Ok(Waited::Stopped) => return "it is not needed any more".to_owned(),
                Err(error) => return error.to_string(),
            }
            let received = self.receive(&mut sockets, &mut due);
            match loss.update(received.as_ref().err()) {
                Some(LossChange::Begins(error)) => {
                    warn!(%error, "kernel events are lost; listening anew until they are heard");
                }
                Some(LossChange::Ends) => info!("kernel events are heard again"),
                None => {}
            }
            if received.is_err() {
                thread::sleep(RETRY);
                if let Ok(anew) = Sockets::open(&self.wanted) {
                    sockets = anew;
                }
                let mut heard = lock(&self.heard);
                heard.lost_links();
                if self.wanted.rules {
                    heard.lost_rules(&self.wanted.families);
                }
            }
            if lock(&self.heard).has_events() {
                self.control.wake();
                thread::sleep(BETWEEN_WAKES);
            }
        }
    }

    fn wait(&self, sockets: &Sockets, due: &Due) -> rustix::io::Result<Waited> {
        let now = Instant::now();
        let is_outdated = lock(&self.heard).is_outdated;
        let node = is_outdated.then(|| due.node.unwrap_or(now));
        let until = node.into_iter().chain(due.gateways).min();
        let at_most = until.map(|until| until.saturating_duration_since(now));
        let at_most = at_most.and_then(|at_most| Timespec::try_from(at_most).ok());
        let mut waiting = vec![
            PollFd::new(&*self.stop, PollFlags::IN),
            PollFd::new(&*self.ask, PollFlags::IN),
            PollFd::new(&sockets.links, PollFlags::IN),
        ];
        let rules = sockets.rules.as_ref();
        waiting.extend(rules.map(|rules| PollFd::new(rules, PollFlags::IN)));
        match poll(&mut waiting, at_most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        // Whether it was written to: what is asked for is among what was heard.
        let _ = rustix::io::read(&*self.ask, &mut [0; 8]);
        let is_stopped = waiting
            .first()
            .is_some_and(|stop| !stop.revents().is_empty());
        Ok(if is_stopped {
            Waited::Stopped
        } else {
            Waited::Heard
        })
    }

    fn receive(&self, sockets: &mut Sockets, due: &mut Due) -> Result<(), ipvs_netlink::Error> {
        // Syncs take the same lock: it is held for each notification alone, and not while the kernel is asked for more.
        let received = sockets
            .links
            .receive(Duration::ZERO, |event| self.hear_of_link(event))?;
        if received == Received::Lost {
            lock(&self.heard).lost_links();
        }
        if let Some(rules) = &mut sockets.rules {
            let received = rules.receive(Duration::ZERO, |event| {
                lock(&self.heard).rules(event, &self.who);
            })?;
            if received == Received::Lost {
                lock(&self.heard).lost_rules(&self.wanted.families);
            }
        }
        let heard = lock(&self.heard);
        let (is_outdated, is_route_new) = (heard.is_outdated, heard.is_route_new);
        drop(heard);
        let now = Instant::now();
        let again = now.checked_add(RETRY);
        if is_outdated && due.node.is_none_or(|due| due <= now) {
            due.node = match sockets.read_node(&self.wanted) {
                Ok(read) => {
                    lock(&self.heard).read(read);
                    None
                }
                // What was read before stays in force.
                Err(error) if is_unstable(&error) => again,
                Err(error) => return Err(error),
            };
        }
        if due.gateways.is_some_and(|due| due <= now) {
            due.gateways = match sockets.asking.gateways() {
                Ok(gateways) => {
                    lock(&self.heard).read_gateways(gateways);
                    None
                }
                Err(error) if is_unstable(&error) => again,
                Err(error) => return Err(error),
            };
        }
        if is_route_new {
            lock(&self.heard).is_route_new = false;
            let soon = now.checked_add(BETWEEN_GATEWAYS);
            due.gateways = due.gateways.or(soon);
        }
        Ok(())
    }
}

impl Listening {
    fn hear_of_link(&self, event: Notification<LinkEvent<'_>>) {
        let unnamed = lock(&self.heard).link(event);
        if let Some(by) = unnamed.and_then(|port| self.who.of_port(port.get())) {
            lock(&self.heard).name_link(by);
        }
    }
}

/// Why nothing is heard. It is logged once until it clears.
#[derive(Debug, Default)]
struct Loss {
    cause: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum LossChange {
    Begins(String),
    Ends,
}

impl Loss {
    /// What an attempt changed, which failed if there is an error.
    fn update(&mut self, failed: Option<&impl ToString>) -> Option<LossChange> {
        let cause = failed.map(ToString::to_string);
        if cause == self.cause {
            return None;
        }
        self.cause.clone_from(&cause);
        Some(cause.map_or(LossChange::Ends, LossChange::Begins))
    }
}

/// Whether it changed too fast to be read, which is no fault of a socket.
const fn is_unstable(error: &ipvs_netlink::Error) -> bool {
    matches!(error.cause(), Cause::Unstable(_))
}

/// The processes of the machine.
#[derive(Debug)]
struct Processes {
    /// Whether this process counts them as the machine does.
    are_all: bool,
}

impl Processes {
    fn new() -> Self {
        let namespace = readlink("/proc/self/ns/pid", Vec::new());
        Self {
            are_all: namespace.is_ok_and(|name| name.as_bytes() == FIRST_PROCESSES),
        }
    }

    /// The number of a process as this one's namespace counts. The kernel says how the machine counts, which is the same only
    /// in the machine's own namespace; a port is mostly the number in the namespace of its process, which may be that of a
    /// container, so that it is asked for only where there is nothing better.
    fn number(&self, process: Option<u32>, port: u32) -> u32 {
        process.filter(|_| self.are_all).unwrap_or(port)
    }

    /// The program that has a netlink port: the first netlink socket of a process has its number.
    fn of_port(&self, port: u32) -> Option<ChangedBy> {
        if !self.are_all {
            return None;
        }
        let name = std::fs::read_to_string(format!("/proc/{port}/comm")).ok()?;
        Some(ChangedBy {
            name: name.trim_end().to_owned(),
            process: port,
        })
    }
}

impl Who for Processes {
    fn is_ours(&self, process: Option<u32>, port: u32) -> bool {
        own_processes::has(self.number(process, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_logged_once_for_as_long_as_it_lasts() {
        let mut loss = Loss::default();
        let (closed, refused) = ("closed".to_owned(), "refused".to_owned());
        assert_eq!(loss.update(None::<&String>), None, "all is well");
        assert_eq!(
            loss.update(Some(&closed)),
            Some(LossChange::Begins(closed.clone()))
        );
        assert!((0..10).all(|_| loss.update(Some(&closed)).is_none()));
        assert_eq!(
            loss.update(Some(&refused)),
            Some(LossChange::Begins(refused))
        );
        assert_eq!(loss.update(None::<&String>), Some(LossChange::Ends));
        assert_eq!(loss.update(None::<&String>), None);
        assert_eq!(
            loss.update(Some(&closed)),
            Some(LossChange::Begins(closed.clone()))
        );
    }

    #[test]
    fn a_number_is_compared_only_where_it_is_counted_alike() {
        let (machine, pod) = (Processes { are_all: true }, Processes { are_all: false });
        // In a container process 4242 of the machine may be number 7, as one of ours is.
        assert_eq!(machine.number(Some(4242), 7), 4242);
        // In a pod process 4242 of the machine may be anybody.
        assert_eq!(pod.number(Some(4242), 7), 7);
        // An old kernel does not say it.
        assert_eq!(machine.number(None, 7), 7);
    }
}
