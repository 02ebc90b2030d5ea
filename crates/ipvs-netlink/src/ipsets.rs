use std::ops::RangeInclusive;

use ipvs_netfilter::ipset::{
    Entry, Listing, PROTOCOL_VERSION, Request, SetHead, SetName, SetSize, SetSpec, listed_sets,
    parse_protocol, parse_revision,
};
use netlink_packet_core::NLM_F_CREATE;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::connection::{Connection, Head};
use crate::error::{Cause, Error, Outcome};
use crate::ipvs::malformed;
use crate::namespace::NetworkNamespace;

/// The ipsets of the network namespace of the thread that opened it.
///
/// ```no_run
/// use ipvs_netfilter::ipset::{Entry, Request, SetFamily, SetSpec, SetType};
/// use ipvs_netlink::IpSets;
///
/// let mut sets = IpSets::open()?;
/// let set = SetSpec { name: "VIPS".parse()?, set_type: SetType::HashIp, family: SetFamily::Inet };
/// sets.create(&set)?;
/// let outcomes = sets.batch(&[Request::Add(set.name, Entry::Ip("10.96.0.10".parse()?))]);
/// assert!(outcomes[0].is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IpSets {
    connection: Connection,
    /// Newest revision of each type and family that was asked for.
    revisions: Vec<(SetSpec, u8)>,
}

impl IpSets {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Cause::Io`] when the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Self::open_at(None)
    }

    /// Opens a connection in another network namespace.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Cause::Namespace`] when it cannot be entered (`EPERM` without `CAP_SYS_ADMIN`).
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Self::open_at(Some(namespace))
    }

    fn open_at(namespace: Option<&NetworkNamespace>) -> Result<Self, Error> {
        let connection = Connection::open(NETLINK_NETFILTER, namespace)
            .map_err(|cause| Error::new("open ipset", cause))?;
        Ok(Self {
            connection,
            revisions: Vec::new(),
        })
    }

    /// Asks the kernel which protocol versions it speaks, which makes it load `ip_set`, and checks that it understands
    /// what is sent here.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] when it does not; `EINVAL` without the module.
    pub fn negotiate(&mut self) -> Result<RangeInclusive<u8>, Error> {
        self.spoken()
            .map_err(|cause| Error::new("agree on the ipset protocol", cause))
    }

    fn spoken(&mut self) -> Result<RangeInclusive<u8>, Cause> {
        let mut spoken = None;
        self.connection.request(
            |out| write(&Request::Protocol, out),
            |message| {
                spoken = Some(parse_protocol(message).map_err(malformed)?);
                Ok(())
            },
        )?;
        let spoken = spoken.ok_or_else(|| malformed("no version"))?;
        if spoken.contains(&PROTOCOL_VERSION) {
            return Ok(spoken);
        }
        let (oldest, newest) = (spoken.start(), spoken.end());
        Err(Cause::Unsupported(format!(
            "ipset protocol {PROTOCOL_VERSION}: the kernel speaks {oldest} to {newest}"
        )))
    }

    /// Creates a set, of the newest revision of its type that the kernel has. A set that is there already with the
    /// same type is left as it is.
    ///
    /// # Errors
    /// `EEXIST` when a set of the name has another type; the ipset error for "no such type" without the module.
    pub fn create(&mut self, set: &SetSpec) -> Result<(), Error> {
        let failed = |cause| {
            Error::new(
                format!("create set {} of type {}", set.name, set.set_type),
                cause,
            )
        };
        let revision = self.revision(set).map_err(failed)?;
        self.batch(&[Request::Create(set, revision)])
            .into_iter()
            .collect()
    }

    fn revision(&mut self, set: &SetSpec) -> Result<u8, Cause> {
        let same_type =
            |known: &SetSpec| (known.set_type, known.family) == (set.set_type, set.family);
        if let Some((_, revision)) = self.revisions.iter().find(|(known, _)| same_type(known)) {
            return Ok(*revision);
        }
        if self.revisions.is_empty() {
            self.spoken()?;
        }
        let mut revision = 0;
        let request = Request::TypeRevision(set);
        self.connection.request(
            |out| write(&request, out),
            |message| {
                revision = parse_revision(message).map_err(malformed)?;
                Ok(())
            },
        )?;
        self.revisions.push((*set, revision));
        Ok(revision)
    }

    /// Sends requests that answer with nothing but success or an error: one outcome for each, in order. An error
    /// names what its request asked for.
    pub fn batch(&mut self, requests: &[Request<'_>]) -> Vec<Outcome> {
        let outcomes = self.connection.batch(requests, write).into_iter();
        let outcomes = outcomes.zip(requests);
        outcomes
            .map(|(outcome, request)| {
                outcome.map_err(|cause| Error::new(request.to_string(), cause.of_set(request)))
            })
            .collect()
    }

    /// Destroys a set, of whatever type it is.
    ///
    /// # Errors
    /// [`ipset::BUSY`](ipvs_netfilter::ipset::BUSY) while a rule or another set refers to it; `ENOENT` if it is not there;
    /// `EINVAL` in a kernel without ipset.
    pub fn destroy(&mut self, name: SetName) -> Result<(), Error> {
        self.batch(&[Request::Destroy(name)]).into_iter().collect()
    }

    /// Gives how much is in each set of the namespace to `take`: one dump, without any entries.
    ///
    /// # Errors
    /// Whatever the kernel refuses: `EINVAL` in a kernel without ipset.
    ///
    /// ```no_run
    /// let mut sets = ipvs_netlink::IpSets::open()?;
    /// sets.sizes(|size| println!("{}: {:?} entries", size.name, size.entries))?;
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    pub fn sizes(&mut self, mut take: impl FnMut(SetSize<'_>)) -> Result<(), Error> {
        let read = |message: &[u8]| {
            take(SetSize::parse(message).map_err(malformed)?);
            Ok(())
        };
        let dumped = self
            .connection
            .dump(|out| write(&Request::ListSizes, out), read);
        match dumped {
            Ok(_) => Ok(()),
            Err(cause) => Err(Error::new("list the sizes of sets", cause)),
        }
    }

    /// Gives how much is in one set to `take`, unless there is no such set: a dump of one object.
    ///
    /// # Errors
    /// Whatever the kernel refuses: `EINVAL` in a kernel without ipset.
    ///
    /// ```no_run
    /// let mut sets = ipvs_netlink::IpSets::open()?;
    /// sets.size("VIPS".parse()?, |size| println!("{:?} entries", size.entries))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn size(&mut self, name: SetName, mut take: impl FnMut(SetSize<'_>)) -> Result<(), Error> {
        let read = |message: &[u8]| {
            take(SetSize::parse(message).map_err(malformed)?);
            Ok(())
        };
        let request = Request::ListSize(name);
        match self.connection.dump(|out| write(&request, out), read) {
            Err(cause) if !cause.is_not_found() => {
                Err(Error::new(format!("get the size of set {name}"), cause))
            }
            _ => Ok(()),
        }
    }

    /// The sets of type `list:set`, each with the names of the sets that it lists. A request, and one for each of them.
    ///
    /// # Errors
    /// Whatever the kernel refuses: `EINVAL` in a kernel without ipset.
    ///
    /// ```no_run
    /// use ipvs_netlink::IpSets;
    ///
    /// for (list, sets) in IpSets::open()?.set_lists()? {
    ///     println!("{list}: {}", sets.join(", "));
    /// }
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    pub fn set_lists(&mut self) -> Result<Vec<(SetName, Vec<String>)>, Error> {
        let mut lists = Vec::new();
        self.sizes(|size| {
            if size.type_name == "list:set" {
                lists.extend(size.name.parse().map(|name| (name, Vec::new())));
            }
        })?;
        for (list, sets) in &mut lists {
            let request = Request::List(*list);
            let read = |message: &[u8]| {
                let names = listed_sets(message).map_err(malformed)?;
                sets.extend(names.into_iter().map(str::to_owned));
                Ok(())
            };
            match self.connection.dump(|out| write(&request, out), read) {
                Err(cause) if !cause.is_not_found() => {
                    return Err(Error::new(format!("list set {list}"), cause));
                }
                _ => {}
            }
        }
        Ok(lists)
    }

    /// What a set says of itself, and its entries; `None` if there is no such set. There are no entries of a set of a type
    /// that `ipvs-netfilter` does not know.
    ///
    /// # Errors
    /// Whatever the kernel refuses: `EINVAL` in a kernel without ipset.
    pub fn list(&mut self, name: SetName) -> Result<Option<(SetHead, Vec<Entry>)>, Error> {
        let mut listing = Listing::default();
        let request = Request::List(name);
        let answer = self.connection.dump(
            |out| write(&request, out),
            |message| listing.read(message).map_err(malformed),
        );
        match answer {
            Err(cause) if !cause.is_not_found() => {
                Err(Error::new(format!("list set {name}"), cause))
            }
            _ => Ok(listing.head.map(|head| (head, listing.entries))),
        }
    }
}

/// Some entries of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChunk {
    /// What the set says of itself; `None` if there is no such set.
    pub head: Option<SetHead>,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether they are the last.
    pub is_last: bool,
}

/// Reads sets in small steps on a socket of its own, so that entries are added meanwhile. An entry that comes or goes
/// while its set is read may be among them or not. Until a set is read to its end the kernel refuses to destroy it
/// (`EBUSY`).
///
/// ```no_run
/// let mut reader = ipvs_netlink::IpSetReader::open()?;
/// while !reader.next_chunk("VIPS".parse()?)?.is_last {}
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IpSetReader {
    connection: Connection,
    /// What is read, and what it says of itself, which comes first.
    reading: Option<(SetName, Listing)>,
}

impl IpSetReader {
    /// Opens a socket in this thread's network namespace.
    ///
    /// # Errors
    /// As [`IpSets::open`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            connection: IpSets::open()?.connection,
            reading: None,
        })
    }

    /// Reads the next chunk of a set, or the first one.
    ///
    /// # Errors
    /// As [`IpSets::list`]. The next call starts over.
    pub fn next_chunk(&mut self, name: SetName) -> Result<SetChunk, Error> {
        let failed = |cause| Error::new(format!("list set {name}"), cause);
        let mut listing = match self.reading.take() {
            Some((reading, listing)) if reading == name => listing,
            other => {
                self.reading = other;
                self.restart()?;
                let request = Request::List(name);
                let begun = self.connection.begin_dump(|out| write(&request, out));
                begun.map_err(failed)?;
                Listing::default()
            }
        };
        let read = |message: &[u8]| listing.read(message).map_err(malformed);
        let is_last = match self.connection.next_chunk(read) {
            Err(cause) if cause.is_not_found() => true,
            done => done.map_err(failed)?,
        };
        let chunk = SetChunk {
            head: listing.head.clone(),
            entries: std::mem::take(&mut listing.entries),
            is_last,
        };
        if !is_last {
            self.reading = Some((name, listing));
        }
        Ok(chunk)
    }

    /// Starts over, wherever it is.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn restart(&mut self) -> Result<(), Error> {
        let Some((name, _)) = self.reading.take() else {
            return Ok(());
        };
        let ended = self.connection.end_dump();
        ended.map_err(|cause| Error::new(format!("list set {name}"), cause))
    }
}

fn write(request: &Request<'_>, out: &mut Vec<u8>) -> Head {
    request.emit(out);
    let flags = if matches!(request, Request::Create(..)) {
        NLM_F_CREATE
    } else {
        0
    };
    Head {
        kind: request.message_type(),
        flags,
    }
}
