//! What the kernel tells of by itself.

mod link_event;
mod listener;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ipvs_codec::Family;
use ipvs_netfilter::NftEvent;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

use self::listener::Listener;
use crate::error::Error;

pub use self::link_event::{LinkEvent, RouteEvent};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const NFNLGRP_NFTABLES: u32 = 7;

/// Something that rtnetlink tells of. What is not listened to the kernel does not even send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkGroup {
    /// Links that come, change or go.
    Links,
    /// Addresses of a family.
    Addresses(Family),
    /// Routes of a family, of every table.
    Routes(Family),
}

impl LinkGroup {
    const fn number(self) -> u32 {
        match self {
            Self::Links => RTNLGRP_LINK,
            Self::Addresses(Family::Ipv4) => RTNLGRP_IPV4_IFADDR,
            Self::Addresses(Family::Ipv6) => RTNLGRP_IPV6_IFADDR,
            Self::Routes(Family::Ipv4) => RTNLGRP_IPV4_ROUTE,
            Self::Routes(Family::Ipv6) => RTNLGRP_IPV6_ROUTE,
        }
    }
}

/// An event, and the request that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<E> {
    /// What happened.
    pub event: E,
    /// Port of the socket that the request came from, often the number of its process; 0 where the kernel did it by itself,
    /// or does not say (links, before Linux 6.2).
    pub port: u32,
    /// Sequence number of the request.
    pub sequence: u32,
}

/// How a wait for notifications ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// There were some, or none that mean anything here. There may be more.
    Some,
    /// There was none in that time.
    Nothing,
    /// Some were lost, because nobody read them in time (`ENOBUFS`), or one could not be read: whatever was followed must be
    /// read anew. Queued notifications from before the loss are discarded; later ones are complete.
    Lost,
}

/// Listens to links, addresses and routes of the network namespace of the thread that opened it.
///
/// ```no_run
/// use std::time::Duration;
/// use ipvs_codec::Family;
/// use ipvs_netlink::{Heard, LinkGroup, LinkNotifications};
///
/// let mut links = LinkNotifications::open(&[LinkGroup::Links, LinkGroup::Addresses(Family::Ipv4)])?;
/// while links.receive(Duration::from_secs(60), |heard| println!("{heard:?}"))? != Heard::Nothing {}
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug)]
pub struct LinkNotifications {
    listener: Listener,
}

impl LinkNotifications {
    /// Opens a socket that hears of these groups from now on. Needs no capability.
    ///
    /// # Errors
    /// [`Cause::Io`](crate::Cause::Io) when the socket cannot be opened.
    pub fn open(groups: &[LinkGroup]) -> Result<Self, Error> {
        let numbers = groups.iter().map(|group| group.number());
        let listener = Listener::open(NETLINK_ROUTE, numbers);
        Ok(Self {
            listener: listener
                .map_err(|cause| Error::new("listen to links and addresses", cause))?,
        })
    }

    /// Waits for notifications, at most for so long, and gives those that are there to `take`, up to some hundred. O(1) each.
    ///
    /// # Errors
    /// [`Cause::Io`](crate::Cause::Io) when the socket fails: another one must be opened.
    pub fn receive(
        &mut self,
        at_most: Duration,
        mut take: impl FnMut(Notification<LinkEvent<'_>>),
    ) -> Result<Heard, Error> {
        let heard = self.listener.receive(at_most, |frame| {
            if let Some(event) = LinkEvent::parse(frame.kind, frame.payload)? {
                take(Notification {
                    event,
                    port: frame.port,
                    sequence: frame.sequence,
                });
            }
            Ok(())
        });
        heard.map_err(|cause| Error::new("hear of links and addresses", cause))
    }
}

/// Can be polled: readable when there is something to receive.
impl AsFd for LinkNotifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Listens to nf_tables in the network namespace of the thread that opened it: what iptables-nft and nftables change.
///
/// ```no_run
/// use std::time::Duration;
/// use ipvs_netlink::{Heard, RuleNotifications};
///
/// let mut rules = RuleNotifications::open()?;
/// while rules.receive(Duration::from_secs(60), |heard| println!("{heard:?}"))? != Heard::Nothing {}
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug)]
pub struct RuleNotifications {
    listener: Listener,
}

impl RuleNotifications {
    /// Opens a socket that hears of every transaction from now on. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`Cause::Io`](crate::Cause::Io) when the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        let listener = Listener::open(NETLINK_NETFILTER, std::iter::once(NFNLGRP_NFTABLES));
        Ok(Self {
            listener: listener.map_err(|cause| Error::new("listen to nf_tables", cause))?,
        })
    }

    /// Waits for notifications, at most for so long, and gives those that are there to `take`, up to some hundred. O(1) each.
    ///
    /// # Errors
    /// [`Cause::Io`](crate::Cause::Io) when the socket fails: another one must be opened.
    pub fn receive(
        &mut self,
        at_most: Duration,
        mut take: impl FnMut(Notification<NftEvent<'_>>),
    ) -> Result<Heard, Error> {
        let heard = self.listener.receive(at_most, |frame| {
            take(Notification {
                event: NftEvent::parse(frame.kind, frame.payload),
                port: frame.port,
                sequence: frame.sequence,
            });
            Ok(())
        });
        heard.map_err(|cause| Error::new("hear of nf_tables", cause))
    }
}

/// Can be polled: readable when there is something to receive.
impl AsFd for RuleNotifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
