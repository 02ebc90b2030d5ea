//! nf_tables by netlink. These need a kernel that has it for IPv4 and IPv6, which user-mode Linux has not.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use ipvs_netfilter::nftables::{
    BaseChain, Chain, Change, Entries, Entry, Expression, Family, Hook, Key, KeyField, KeyType,
    Name, PayloadBase, Place, Policy, Register, Reject, Rule, Set, Table, TableId, Userdata, Value,
    Verdict,
};
use ipvs_netlink::{Cause, EntryRun, Error, NfTables, Transaction, TransactionError};
use ipvs_test_support::NetNs;

/// Runs a test in a namespace of its own, where the kernel has what it takes.
pub(crate) fn with_tables(namespace: &str, test: impl FnOnce(&mut NfTables) + Send) {
    let namespace = NetNs::new(namespace).unwrap();
    let ran = namespace.run(|| {
        let mut tables = NfTables::open().unwrap();
        let probe = Table::new(id(Family::IPV4));
        match tables.transact(&Transaction::new(vec![Change::AddTable(&probe)])) {
            Ok(()) => {}
            // EOPNOTSUPP, EAFNOSUPPORT; EINVAL without the module.
            Err(error) if matches!(error.errno(), Some(95 | 97 | 22)) => return Some(error),
            Err(error) => panic!("{error}"),
        }
        let gone = Change::DeleteTable(&probe.id);
        tables.transact(&Transaction::new(vec![gone])).unwrap();
        test(&mut tables);
        None
    });
    if let Some(error) = ran.unwrap() {
        println!("skipped: it needs nf_tables for IPv4: {error}");
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn id(family: Family) -> TableId {
    let name = name("lab");
    TableId { family, name }
}

fn endpoints(table: &TableId) -> Set {
    let key = [KeyField::Ipv4, KeyField::Protocol, KeyField::Port];
    Set::new(table.set(name("endpoints")), &KeyType::of(&key).unwrap())
}

fn endpoint(number: u32) -> Entry {
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + number));
    let parts = [Value::ip(address), Value::byte(6), Value::port(80)];
    Entry::of(Value::concat(&parts).unwrap())
}

/// A table with one set, `endpoints`.
fn make(tables: &mut NfTables) -> (Table, Set) {
    let table = Table::new(id(Family::IPV4));
    let set = endpoints(&table.id);
    let changes = vec![Change::CreateTable(&table), Change::AddSet(&set)];
    tables.transact(&Transaction::new(changes)).unwrap();
    (table, set)
}

#[test]
fn a_table_is_read_back_as_it_was_written() {
    with_tables("nft-equal", |tables| {
        for family in [Family::IPV4, Family::IPV6] {
            let comment = |text| {
                Userdata::default()
                    .with_text(Userdata::COMMENT, text)
                    .unwrap()
            };
            let mut table = Table::new(id(family));
            table.userdata = comment("lab 1");
            let (address, address_length, offset) = match family {
                Family::IPV4 => (KeyField::Ipv4, 4, 16),
                _ => (KeyField::Ipv6, 16, 24),
            };
            let of = |fields: &[KeyField]| KeyType::of(fields).unwrap();
            let endpoint = [address, KeyField::Protocol, KeyField::Port];
            let ranges = [address, KeyField::Protocol, KeyField::Port, address];
            let mut sets = [
                Set::new(table.id.set(name("a")), &of(&endpoint)),
                Set::of_intervals(table.id.set(name("b")), &of(&ranges)),
                Set::new(table.id.set(name("c")), &of(&[KeyField::Port])),
                Set::of_intervals(table.id.set(name("d")), &of(&[KeyField::Mark])),
            ];
            sets[2].size = Some(1000);
            let mut base = Chain::new(table.id.chain(name("in")));
            base.base = Some(BaseChain {
                policy: Policy::Drop,
                ..BaseChain::filter(Hook::INPUT, -7)
            });
            base.userdata = comment("base");
            let plain = Chain::new(table.id.chain(name("plain")));
            let to = Register::FIRST;
            let port = to.after(address_length).unwrap();
            let steps = vec![
                Expression::Payload {
                    base: PayloadBase::NETWORK,
                    offset,
                    length: u32::try_from(address_length).unwrap(),
                    to,
                },
                Expression::Payload {
                    base: PayloadBase::TRANSPORT,
                    offset: 2,
                    length: 2,
                    to: port,
                },
                Expression::Reject(Reject::Unreachable(3)),
            ];
            let mut rules = [
                Rule::new(
                    base.id.clone(),
                    vec![Expression::Verdict(Verdict::Jump(name("plain")))],
                ),
                Rule::new(plain.id.clone(), steps),
                Rule::new(plain.id.clone(), vec![Expression::Verdict(Verdict::Accept)]),
            ]
            .map(Result::unwrap);
            rules[2].userdata = comment("last");
            let mut changes = vec![Change::AddTable(&table)];
            changes.extend([&base, &plain].map(Change::AddChain));
            changes.extend(sets.iter().map(Change::AddSet));
            changes.extend(rules.iter().map(|rule| Change::AddRule(rule, Place::End)));
            tables.transact(&Transaction::new(changes)).unwrap();

            let found = tables.table(&table.id).unwrap().unwrap();
            assert_eq!(found.table.object, table);
            let chains: Vec<_> = found.chains.into_iter().map(|chain| chain.object).collect();
            assert_eq!(chains, [base, plain]);
            let listed: Vec<_> = found.sets.into_iter().map(|set| set.set.object).collect();
            assert_eq!(listed, sets);
            let listed: Vec<_> = found.rules.into_iter().map(|rule| rule.object).collect();
            assert_eq!(listed, rules);
        }
        let mut of_all = tables.tables(Family::ANY).unwrap();
        of_all.sort_by_key(|table| table.object.id.family);
        let families: Vec<_> = of_all.iter().map(|table| table.object.id.family).collect();
        assert_eq!(families, [Family::IPV4, Family::IPV6]);
        assert_eq!(tables.tables(Family::INET).unwrap(), []);
        let absent = TableId {
            family: Family::IPV4,
            name: name("absent"),
        };
        assert_eq!(tables.table(&absent).unwrap(), None);
        assert_eq!(tables.entries(&absent.set(name("s"))).unwrap(), None);
    });
}

#[test]
fn a_transaction_is_made_whole_or_not_at_all() {
    with_tables("nft-whole", |tables| {
        let (table, set) = make(tables);
        let chain = Chain::new(table.id.chain(name("c")));
        let absent = table.id.set(name("absent"));
        let refused = tables.transact(&Transaction::new(vec![
            Change::AddChain(&chain),
            Change::DeleteSet(&absent),
            Change::CreateTable(&table),
            Change::FlushSet(&set.id),
        ]));
        let Err(TransactionError::Refused(refused)) = refused else {
            panic!("{refused:?}")
        };
        let said: Vec<_> = refused
            .iter()
            .map(|change| (change.index, change.error.to_string()))
            .collect();
        let said: Vec<_> = said
            .iter()
            .map(|(index, text)| (*index, text.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (
                    1,
                    "delete set ip lab absent: No such file or directory (os error 2)"
                ),
                (2, "create table ip lab: File exists (os error 17)"),
            ]
        );
        assert_eq!(tables.table(&table.id).unwrap().unwrap().chains, []);
        // A set that rules look into is busy, and stays so.
        let rule = Expression::Lookup {
            set: set.id.name.clone(),
            register: Register::FIRST,
            inverted: false,
        };
        let load = Expression::Immediate {
            value: Value::concat(&[Value::host(0), Value::byte(0), Value::port(0)]).unwrap(),
            to: Register::FIRST,
        };
        let rule = Rule::new(chain.id.clone(), vec![load, rule]).unwrap();
        let changes = vec![Change::AddChain(&chain), Change::AddRule(&rule, Place::End)];
        tables.transact(&Transaction::new(changes)).unwrap();
        let busy = tables.transact(&Transaction::new(vec![Change::DeleteSet(&set.id)]));
        assert_eq!(busy.unwrap_err().errno(), Some(16));
    });
}

#[test]
fn many_entries_go_in_transactions_of_bounded_size() {
    with_tables("nft-many", |tables| {
        let (_, set) = make(tables);
        let before = tables.generation().unwrap();
        let entries: Vec<Entry> = (0..20_000).map(endpoint).collect();
        let outcomes = tables.change_entries(&[EntryRun::Add(&set, &entries)]);
        assert!(outcomes[0].iter().all(Result::is_ok));
        assert_eq!(outcomes[0].len(), entries.len());
        let transactions = tables.generation().unwrap() - before;
        // 480,000 bytes in transactions of at most 71,000.
        assert!((7..=10).contains(&transactions), "{transactions}");
        let found: BTreeSet<_> = tables
            .entries(&set.id)
            .unwrap()
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(found, entries.iter().cloned().collect());

        // Some that are not there, in each of several transactions.
        tables.set_transaction_bytes(10_000);
        let gone: Vec<Entry> = (0..2000)
            .map(|number| {
                endpoint(if number % 500 == 7 {
                    30_000 + number
                } else {
                    number
                })
            })
            .collect();
        let more: Vec<Entry> = (20_000..20_100).map(endpoint).collect();
        let outcomes =
            tables.change_entries(&[EntryRun::Delete(&set, &gone), EntryRun::Add(&set, &more)]);
        let failed: Vec<usize> = (0..gone.len())
            .filter(|at| outcomes[0][*at].is_err())
            .collect();
        assert_eq!(failed, [7, 507, 1007, 1507]);
        assert!(
            failed
                .iter()
                .all(|at| outcomes[0][*at].as_ref().is_err_and(Error::is_not_found))
        );
        assert!(outcomes[1].iter().all(Result::is_ok));
        let left = tables.entries(&set.id).unwrap().unwrap();
        assert_eq!(left.len(), 20_000 - 1996 + 100);
    });
}

#[test]
fn an_entry_that_is_refused_is_named() {
    with_tables("nft-named", |tables| {
        let table = Table::new(id(Family::IPV4));
        let key = KeyType::of(&[KeyField::Ipv4, KeyField::Port]).unwrap();
        let mut full = Set::new(table.id.set(name("full")), &key);
        full.size = Some(2);
        let ranges = Set::of_intervals(table.id.set(name("ranges")), &key);
        let changes = vec![
            Change::AddTable(&table),
            Change::AddSet(&full),
            Change::AddSet(&ranges),
        ];
        tables.transact(&Transaction::new(changes)).unwrap();
        let value = |last, port| {
            Value::concat(&[Value::ip([10, 0, 0, last].into()), Value::port(port)]).unwrap()
        };
        let entries = [
            Entry::from(Key::Range(value(0, 80), value(9, 80))),
            Entry::from(Key::Range(value(20, 80), value(29, 80))),
            Entry::from(Key::Range(value(5, 80), value(25, 80))),
        ];
        let all = Change::AddEntries(&ranges, Entries::split(&entries, 1000).0);
        let refused = tables.transact(&Transaction::new(vec![all])).unwrap_err();
        assert_eq!(refused.errno(), Some(17));
        assert_eq!(
            refused.to_string(),
            "add entry 10.0.0.5-10.0.0.25 . 80 to set ip lab ranges: File exists (os error 17)"
        );
        let outcomes = tables.change_entries(&[EntryRun::Add(&ranges, &entries)]);
        let made: Vec<bool> = outcomes[0].iter().map(Result::is_ok).collect();
        assert_eq!(made, [true, true, false]);
        let entries = [value(1, 1), value(2, 2), value(3, 3), value(4, 4)].map(Entry::of);
        let outcomes = tables.change_entries(&[EntryRun::Add(&full, &entries)]);
        let errnos: Vec<_> = outcomes[0]
            .iter()
            .map(|outcome| outcome.as_ref().err().and_then(Error::errno))
            .collect();
        assert_eq!(
            errnos,
            [None, None, Some(23), Some(23)],
            "two are in, two have no room"
        );
    });
}

#[test]
fn a_transaction_for_rules_that_others_changed_is_stale() {
    with_tables("nft-stale", |tables| {
        let (table, set) = make(tables);
        let flush = || Transaction::new(vec![Change::FlushSet(&set.id)]);
        let generation = tables.table(&table.id).unwrap().unwrap().generation;
        let mut others = NfTables::open().unwrap();
        let one = [endpoint(1)];
        assert!(others.change_entries(&[EntryRun::Add(&set, &one)])[0][0].is_ok());
        let stale = tables.transact(&flush().at(generation));
        assert!(matches!(stale, Err(TransactionError::Stale)), "{stale:?}");
        assert_eq!(tables.entries(&set.id).unwrap().unwrap(), one);
        // Somebody comes in between the first two times.
        let mut left = 2;
        let made = tables.retry_stale(|tables| {
            let generation = tables.generation()?;
            if left > 0 {
                left -= 1;
                let run = [endpoint(10 + left)];
                let _ = others.change_entries(&[EntryRun::Add(&set, &run)]);
            }
            tables.transact(&flush().at(generation))
        });
        assert!(made.is_ok() && left == 0);
        assert_eq!(tables.entries(&set.id).unwrap().unwrap(), []);
        let never = tables.retry_stale(|_| Err::<(), _>(TransactionError::Stale));
        assert!(matches!(never, Err(TransactionError::Stale)));
    });
}

#[test]
fn transactions_are_pipelined_and_each_stands_for_itself() {
    with_tables("nft-pipelined", |tables| {
        let (table, set) = make(tables);
        let absent = table.id.set(name("absent"));
        let entries: Vec<Entry> = (0..1000).map(endpoint).collect();
        let transactions: Vec<_> = (0..1000)
            .map(|at| {
                Transaction::new(vec![match at % 100 {
                    7 => Change::DeleteSet(&absent),
                    _ => Change::AddEntries(&set, Entries::split(&entries[at..=at], 100).0),
                }])
            })
            .collect();
        let outcomes = tables.transact_all(&transactions);
        for (at, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_err(), at % 100 == 7, "{at}");
        }
        assert_eq!(tables.entries(&set.id).unwrap().unwrap().len(), 990);
        // One that is too long is said so, and stops none.
        let large: Vec<Entry> = (0..20_000).map(endpoint).collect();
        let mut changes = Vec::new();
        let mut rest = &large[..];
        while !rest.is_empty() {
            let (entries, behind) = Entries::split(rest, 50_000);
            changes.push(Change::AddEntries(&set, entries));
            rest = behind;
        }
        let outcomes = tables.transact_all(&[
            Transaction::new(vec![Change::FlushSet(&set.id)]),
            Transaction::new(changes),
            Transaction::new(vec![Change::AddTable(&table)]),
        ]);
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
        assert!(
            matches!(outcomes[1], Err(TransactionError::TooLong { bytes, .. }) if bytes > 480_000)
        );
        assert_eq!(tables.entries(&set.id).unwrap().unwrap(), []);
    });
}

/// Two sets that always have the same entries, changed together while they are read.
#[test]
fn a_table_is_read_as_it_was_at_one_time() {
    with_tables("nft-one-time", |tables| {
        let (table, set) = make(tables);
        let second = Set {
            id: table.id.set(name("second")),
            ..set.clone()
        };
        tables
            .transact(&Transaction::new(vec![Change::AddSet(&second)]))
            .unwrap();
        let stop = AtomicBool::new(false);
        let entries: Vec<Entry> = (0..2000).map(endpoint).collect();
        let mut others = NfTables::open().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for half in entries.chunks(1000).cycle() {
                    let entries = Entries::split(half, 60_000).0;
                    let changes = vec![
                        Change::FlushSet(&set.id),
                        Change::FlushSet(&second.id),
                        Change::AddEntries(&set, entries),
                        Change::AddEntries(&second, entries),
                    ];
                    others.transact(&Transaction::new(changes)).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Leaves room for reading: what never rests cannot be read.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
            for _ in 0..10 {
                let found = match tables.table(&table.id) {
                    Ok(found) => found.unwrap(),
                    Err(error) => {
                        assert!(matches!(error.cause(), Cause::Unstable(_)), "{error}");
                        continue;
                    }
                };
                let sorted = |at: usize| -> BTreeSet<Entry> {
                    found.sets[at].entries.iter().cloned().collect()
                };
                assert_eq!(sorted(0), sorted(1));
                assert!([0, 1000].contains(&sorted(0).len()));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let found = tables.table(&table.id).unwrap().unwrap();
        assert_eq!(found.sets[0].entries.len(), 1000);
    });
}

#[test]
fn a_table_that_a_socket_owns_is_left_to_it() {
    with_tables("nft-owner", |tables| {
        let mut others = NfTables::open().unwrap();
        let mut table = Table::new(id(Family::IPV4));
        table.flags = Table::OWNER;
        others
            .transact(&Transaction::new(vec![Change::AddTable(&table)]))
            .unwrap();
        let found = tables.table(&table.id).unwrap().unwrap();
        assert_eq!(found.table.object, table);
        let chain = Chain::new(table.id.chain(name("c")));
        let refused = tables.transact(&Transaction::new(vec![Change::AddChain(&chain)]));
        assert_eq!(refused.unwrap_err().errno(), Some(1));
        drop(others);
        assert_eq!(tables.table(&table.id).unwrap(), None);
    });
}
