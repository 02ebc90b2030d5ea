use ipvs_netfilter::MessageError;
use ipvs_netfilter::nftables::{
    Chain, Entry, Family, Listed, Question, Rule, Set, SetId, Table, TableId,
};

use super::{NfTables, ask};
use crate::error::{Cause, Error};
use crate::ipvs::malformed;
use crate::listing::ATTEMPTS;

/// The kernel could not go on reading: `EINTR`, `EAGAIN`, `EBUSY`.
const PASSING: [i32; 3] = [4, 11, 16];

/// A table with all that is in it, as it was at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContents {
    /// The generation of the rules then, for [`Transaction::at`](super::Transaction::at).
    pub generation: u32,
    /// The table.
    pub table: Listed<Table>,
    /// Its chains.
    pub chains: Vec<Listed<Chain>>,
    /// Its sets.
    pub sets: Vec<SetContents>,
    /// Its rules, those of each chain in order.
    pub rules: Vec<Listed<Rule>>,
}

/// A table with all that is in it but for the entries of its sets, as it was at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHeads {
    /// As of [`TableContents`].
    pub generation: u32,
    /// The table.
    pub table: Listed<Table>,
    /// Its chains.
    pub chains: Vec<Listed<Chain>>,
    /// Its sets, without their entries.
    pub sets: Vec<Listed<Set>>,
    /// Its rules, those of each chain in order.
    pub rules: Vec<Listed<Rule>>,
}

/// A set with its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetContents {
    /// The set.
    pub set: Listed<Set>,
    /// Its entries, in the kernel's order.
    pub entries: Vec<Entry>,
}

/// What was read of a list, unless the kernel could not read it in one piece.
type Read<T> = Option<T>;

impl NfTables {
    /// A table with all that is in it; `None` if there is no such table. It is read again while others change rules.
    ///
    /// # Errors
    /// [`Cause::Unstable`] after eight attempts; whatever the kernel refuses.
    pub fn table(&mut self, id: &TableId) -> Result<Option<TableContents>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let Some(contents) = self.read_table(id, generation)? else {
                continue;
            };
            if self.generation()? == generation {
                return Ok(contents);
            }
        }
        Err(unstable(&Question::Table(id)))
    }

    /// A table with all that is in it but for the entries of its sets; `None` if there is no such table. Four questions, and
    /// O(chains, sets and rules), of all tables of the family in old kernels.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn heads(&mut self, id: &TableId) -> Result<Option<TableHeads>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let Some(heads) = self.read_heads(id, generation)? else {
                continue;
            };
            if self.generation()? == generation {
                return Ok(heads);
            }
        }
        Err(unstable(&Question::Table(id)))
    }

    /// The tables of a family, or of all with [`Family::ANY`].
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn tables(&mut self, family: Family) -> Result<Vec<Listed<Table>>, Error> {
        let question = Question::Tables(family);
        for _ in 0..ATTEMPTS {
            if let Some(tables) = self.list(&question, one(Table::parse))? {
                return Ok(tables);
            }
        }
        Err(unstable(&question))
    }

    /// The entries of a set; `None` if there is no such set.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn entries(&mut self, set: &SetId) -> Result<Option<Vec<Entry>>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let entries = match self.read_entries(set) {
                Err(error) if error.cause().is_not_found() => return Ok(None),
                entries => entries?,
            };
            if let Some(entries) = entries
                && self.generation()? == generation
            {
                return Ok(Some(entries));
            }
        }
        Err(unstable(&Question::Entries(set)))
    }

    /// One attempt.
    fn read_table(
        &mut self,
        id: &TableId,
        generation: u32,
    ) -> Result<Read<Option<TableContents>>, Error> {
        let heads = match self.read_heads(id, generation)? {
            None => return Ok(None),
            Some(None) => return Ok(Some(None)),
            Some(Some(heads)) => heads,
        };
        let mut sets = Vec::with_capacity(heads.sets.len());
        for set in heads.sets {
            match self.read_entries(&set.object.id) {
                // It went meanwhile.
                Err(error) if error.cause().is_not_found() => return Ok(None),
                entries => match entries? {
                    Some(entries) => sets.push(SetContents { set, entries }),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(Some(TableContents {
            generation,
            table: heads.table,
            chains: heads.chains,
            sets,
            rules: heads.rules,
        })))
    }

    /// One attempt.
    fn read_heads(
        &mut self,
        id: &TableId,
        generation: u32,
    ) -> Result<Read<Option<TableHeads>>, Error> {
        let question = Question::Table(id);
        let mut table = None;
        let answer = self.connection.request(
            |out| ask(&question, out),
            |message| {
                table = Some(Table::parse(message).map_err(malformed)?);
                Ok(())
            },
        );
        match answer {
            Err(cause) if cause.is_not_found() => return Ok(Some(None)),
            answer => answer.map_err(|cause| Error::new(question.to_string(), cause))?,
        }
        let Some(table) = table else {
            return Ok(None);
        };
        let chains = self.list(&Question::Chains(id.family), one(Chain::parse))?;
        let sets = self.list(&Question::Sets(id), one(Set::parse))?;
        let rules = self.list(&Question::Rules(id), one(Rule::parse))?;
        let (Some(mut chains), Some(mut sets), Some(mut rules)) = (chains, sets, rules) else {
            return Ok(None);
        };
        // Old kernels list those of other tables too.
        chains.retain(|chain| chain.object.id.table == *id);
        sets.retain(|set| set.object.id.table == *id);
        rules.retain(|rule| rule.object.chain.table == *id);
        Ok(Some(Some(TableHeads {
            generation,
            table,
            chains,
            sets,
            rules,
        })))
    }

    fn read_entries(&mut self, set: &SetId) -> Result<Read<Vec<Entry>>, Error> {
        self.list(&Question::Entries(set), |message, found| {
            Entry::parse_list(message, found).map(drop)
        })
    }

    /// All objects of a list; none if it changed while it was read.
    fn list<V>(
        &mut self,
        question: &Question<'_>,
        mut parse: impl FnMut(&[u8], &mut Vec<V>) -> Result<(), MessageError>,
    ) -> Result<Read<Vec<V>>, Error> {
        let mut found = Vec::new();
        let shape = self.connection.dump(
            |out| ask(question, out),
            |message| parse(message, &mut found).map_err(malformed),
        );
        match shape {
            Ok(shape) => Ok((!shape.interrupted).then_some(found)),
            Err(cause) if cause.errno().is_some_and(|errno| PASSING.contains(&errno)) => Ok(None),
            Err(cause) => Err(Error::new(question.to_string(), cause)),
        }
    }
}

/// Messages that hold one object each.
fn one<V>(
    parse: impl Fn(&[u8]) -> Result<V, MessageError>,
) -> impl Fn(&[u8], &mut Vec<V>) -> Result<(), MessageError> {
    move |message, found| {
        found.push(parse(message)?);
        Ok(())
    }
}

fn unstable(question: &Question<'_>) -> Error {
    Error::new(question.to_string(), Cause::Unstable(ATTEMPTS))
}
