//! How far a table is believed that came in chunks.
//!
//! The kernel resumes a dump by index, and neither IPVS nor ipset marks one as interrupted: where a table changed between
//! two chunks, some of it may be missing, double or outdated. So a table that took several chunks is believed where it
//! agrees with what is known. Where it does not, something must confirm it, and what that is depends on who else changes
//! the table:
//!
//! - A set and the dummy interface are ours: it is our own changes that come between the chunks. Read once more without a
//!   pause, it cannot meet any. Of a table of which nothing was known we have changed nothing.
//! - The list of virtual servers is one table for all network namespaces (`ip_vs_svc_table`): others shift it even where it
//!   is read at once. A few differences are asked for by name, which is certain. With many it is read again, and two lists
//!   in a row must agree; the first one is put into what is known, and costs no memory of its own.

/// So many that a list and what is known disagree on are asked for by name; with more it is read again.
const FEW: usize = 64;
/// A list that never agrees with the one before is read so often; then names are asked for, however many.
pub(super) const ATTEMPTS: usize = 8;

/// How a table was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Chunks {
    /// Calls that it took.
    pub(super) calls: usize,
    /// Times that it was read before this one.
    pub(super) before: usize,
}

/// What can confirm a table, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Only this process changes it.
    Ours { is_known: bool },
    /// Anybody may; its objects have names.
    Everybodys { is_known: bool },
}

/// What follows from a table that says something else than what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right.
    Believed,
    /// It must be read again, at once: changes wait until then.
    AgainAtOnce,
    /// It is put into what is known, and must be read again: the next one must agree with it.
    AgainToAgree,
    /// What differs is asked for by name.
    AskByName,
}

impl Chunks {
    pub(super) const fn verdict(self, differing: usize, sharing: Sharing) -> Verdict {
        if self.calls <= 1 || differing == 0 {
            return Verdict::Believed;
        }
        match sharing {
            Sharing::Ours { is_known: false } => Verdict::Believed,
            Sharing::Ours { is_known: true } => Verdict::AgainAtOnce,
            Sharing::Everybodys { .. } if self.before.saturating_add(1) >= ATTEMPTS => {
                Verdict::AskByName
            }
            // Of what is neither listed nor known nothing is heard: the first time two lists must agree.
            Sharing::Everybodys { is_known: false } => Verdict::AgainToAgree,
            Sharing::Everybodys { is_known: true } if differing <= FEW => Verdict::AskByName,
            Sharing::Everybodys { is_known: true } => Verdict::AgainToAgree,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: Sharing = Sharing::Ours { is_known: true };
    const LIST: Sharing = Sharing::Everybodys { is_known: true };

    fn verdict(calls: usize, before: usize, differing: usize, sharing: Sharing) -> Verdict {
        Chunks { calls, before }.verdict(differing, sharing)
    }

    #[test]
    fn one_chunk_is_believed_and_so_is_what_is_as_known() {
        for sharing in [SETS, LIST] {
            assert_eq!(verdict(1, 0, 1000, sharing), Verdict::Believed);
            assert_eq!(verdict(9, 0, 0, sharing), Verdict::Believed);
        }
    }

    #[test]
    fn what_only_we_change_is_read_at_once_unless_nothing_was_known() {
        assert_eq!(verdict(2, 0, 1, SETS), Verdict::AgainAtOnce);
        let unknown = Sharing::Ours { is_known: false };
        assert_eq!(verdict(2, 0, 1, unknown), Verdict::Believed);
    }

    #[test]
    fn few_virtual_servers_are_asked_for_and_of_many_two_lists_must_agree() {
        assert_eq!(verdict(2, 0, FEW, LIST), Verdict::AskByName);
        assert_eq!(verdict(2, 0, FEW + 1, LIST), Verdict::AgainToAgree);
        let unknown = Sharing::Everybodys { is_known: false };
        assert_eq!(verdict(2, 0, 1, unknown), Verdict::AgainToAgree);
    }

    #[test]
    fn lists_that_never_agree_come_to_an_end() {
        for is_known in [false, true] {
            let sharing = Sharing::Everybodys { is_known };
            let at = |before| verdict(2, before, usize::MAX, sharing);
            assert_eq!(at(ATTEMPTS - 2), Verdict::AgainToAgree);
            assert_eq!(at(ATTEMPTS - 1), Verdict::AskByName);
        }
    }
}
