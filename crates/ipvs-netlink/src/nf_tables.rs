mod contents;
mod entries;
mod transaction;

pub use contents::{SetContents, TableContents, TableHeads};
pub use entries::EntryRun;
pub use transaction::{RefusedChange, Transaction, TransactionError};

use ipvs_netfilter::nftables::{Question, parse_generation};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::connection::{Connection, Head};
use crate::error::{Cause, Error};
use crate::ipvs::malformed;
use crate::namespace::NetworkNamespace;

/// The nf_tables of the network namespace of the thread that opened it.
///
/// What is changed goes in [`Transaction`]s ([`transact`](Self::transact), [`transact_all`](Self::transact_all)); the entries
/// of large sets in as many as it takes ([`change_entries`](Self::change_entries)). What is read comes as it was at one time
/// ([`table`](Self::table)). No program is started.
///
/// ```no_run
/// use ipvs_netfilter::nftables::{Change, Entry, Family, KeyField, KeyType, Set, Table, TableId, Value};
/// use ipvs_netlink::{EntryRun, NfTables, Transaction};
///
/// let mut tables = NfTables::open()?;
/// let table = Table::new(TableId { family: Family::IPV4, name: "proxy".parse()? });
/// let key = KeyType::of(&[KeyField::Ipv4]).ok_or("a key has one to five fields")?;
/// let vips = Set::new(table.id.set("vips".parse()?), &key);
/// tables.transact(&Transaction::new(vec![Change::AddTable(&table), Change::AddSet(&vips)]))?;
/// let entries = [Entry::of(Value::ip("10.96.0.10".parse()?))];
/// let outcomes = tables.change_entries(&[EntryRun::Add(&vips, &entries)]);
/// assert!(outcomes[0][0].is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NfTables {
    connection: Connection,
    /// Bytes of the transactions that [`change_entries`](Self::change_entries) makes.
    transaction_bytes: usize,
}

impl NfTables {
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
    /// As [`open`](Self::open), and `EPERM` without `CAP_SYS_ADMIN`, which entering it takes.
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Self::open_at(Some(namespace))
    }

    fn open_at(namespace: Option<&NetworkNamespace>) -> Result<Self, Error> {
        let connection = Connection::open(NETLINK_NETFILTER, namespace)
            .map_err(|cause| Error::new("open nf_tables", cause))?;
        let transaction_bytes = connection.limits().bytes;
        Ok(Self {
            connection,
            transaction_bytes,
        })
    }

    /// The netlink port of its socket: notifications of what it does have this number. It may be another one after an answer
    /// was lost.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.connection.port()
    }

    /// The number of the rule set's state, which every transaction of anybody changes; never 0.
    ///
    /// # Errors
    /// `EOPNOTSUPP` or `EINVAL` in a kernel without nf_tables; whatever else the kernel refuses.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let question = Question::Generation;
        self.read_generation()
            .map_err(|cause| Error::new(question.to_string(), cause))
    }

    fn read_generation(&mut self) -> Result<u32, Cause> {
        let mut generation = None;
        self.connection.request(
            |out| ask(&Question::Generation, out),
            |message| {
                generation = Some(parse_generation(message).map_err(malformed)?);
                Ok(())
            },
        )?;
        generation.ok_or_else(|| malformed("no generation"))
    }
}

fn ask(question: &Question<'_>, out: &mut Vec<u8>) -> Head {
    question.emit(out);
    Head::new(question.message_type())
}
