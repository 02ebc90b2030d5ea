//! nf_tables messages as `nft` sends them and the kernel answers, recorded by `cargo xtask capture-nftables` from the file
//! `vectors/filter.nft`. The recording is little-endian, and so are the tests on it; the others hold for both byte orders.

mod properties;

use std::collections::BTreeSet;

use ipvs_netfilter::nftables::*;

/// Bytes of a netlink header.
const HEADER: usize = 16;

#[derive(Debug, Clone)]
struct Vector {
    /// From nft to the kernel.
    is_request: bool,
    run: &'static str,
    /// Message type without the subsystem; none for what is not of nf_tables.
    command: Option<u8>,
    flags: u16,
    payload: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../vectors/nftables.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split(" | ").collect();
            let [id, run, hex] = columns[..] else {
                panic!("not a vector: {line}")
            };
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            Vector {
                is_request: id.starts_with('q'),
                run,
                command: (bytes[5] == 10).then_some(bytes[4]),
                flags: u16::from_le_bytes([bytes[6], bytes[7]]),
                payload: bytes[HEADER..].to_vec(),
            }
        })
        .collect()
}

/// An object of any kind.
#[derive(Debug, Clone, PartialEq)]
enum Object {
    Table(Table),
    Chain(Chain),
    Set(Set),
    Rule(Rule),
    Entries(SetId, Vec<Entry>),
}

/// Reads what a message with an object says: `NFT_MSG_NEW…`.
fn object(command: Option<u8>, payload: &[u8]) -> Option<Object> {
    Some(match command? {
        0 => Object::Table(Table::parse(payload).unwrap().object),
        3 => Object::Chain(Chain::parse(payload).unwrap().object),
        6 => Object::Rule(Rule::parse(payload).unwrap().object),
        9 => Object::Set(Set::parse(payload).unwrap().object),
        12 => {
            let mut entries = Vec::new();
            let set = Entry::parse_list(payload, &mut entries).unwrap();
            Object::Entries(set, entries)
        }
        _ => return None,
    })
}

fn some_set(id: &SetId) -> Set {
    Set::new(id.clone(), &KeyType::of(&[KeyField::Port]).unwrap())
}

/// Writes an object as the change that makes it.
fn emit(object: &Object) -> Vec<u8> {
    let mut bytes = Vec::new();
    match object {
        Object::Table(table) => Change::AddTable(table).emit(&mut bytes),
        Object::Chain(chain) => Change::AddChain(chain).emit(&mut bytes),
        Object::Set(set) => Change::AddSet(set).emit(&mut bytes),
        Object::Rule(rule) => Change::AddRule(rule, Place::End).emit(&mut bytes),
        Object::Entries(set, entries) => {
            let (entries, rest) = Entries::split(entries, usize::MAX);
            assert_eq!(rest, []);
            Change::AddEntries(&some_set(set), entries).emit(&mut bytes);
        }
    }
    bytes
}

fn objects(is_request: bool, run: &str) -> Vec<Object> {
    vectors()
        .iter()
        .filter(|vector| vector.is_request == is_request && vector.run == run)
        .filter_map(|vector| object(vector.command, &vector.payload))
        .collect()
}

#[test]
#[cfg(target_endian = "little")]
fn what_the_kernel_lists_is_what_was_written() {
    let written = objects(true, "-f FILTER");
    let listed = objects(false, "-a list ruleset");
    let mut seen = 0;
    for object in &written {
        match object {
            // The kernel gives the set of a set expression a number in the place of `%d`, and a rule names it so.
            Object::Set(set) if set.id.name.to_string().contains("%d") => continue,
            Object::Entries(set, _) if set.name.to_string().contains("%d") => continue,
            Object::Rule(rule) if format!("{rule:?}").contains("%d") => continue,
            // Which entry comes first is up to the kernel.
            Object::Entries(set, entries) => {
                let wanted: BTreeSet<_> = entries.iter().collect();
                let found = listed.iter().find_map(|object| match object {
                    Object::Entries(listed, entries) if listed == set => Some(entries),
                    _ => None,
                });
                let found: BTreeSet<_> = found.unwrap().iter().collect();
                assert_eq!(found, wanted, "{set}");
            }
            other => assert!(listed.contains(other), "{other:#?}"),
        }
        seen += 1;
    }
    assert!(seen > 90, "{seen}");
    let rules = |objects: &[Object], of: &str| -> Vec<Rule> {
        let rules = objects.iter().filter_map(|object| match object {
            Object::Rule(rule) if rule.chain.to_string() == of => Some(rule.clone()),
            _ => None,
        });
        rules.collect()
    };
    let chain = "ip kube-proxy-ipvs services";
    assert_eq!(
        rules(&listed, chain),
        rules(&written, chain),
        "and the order is kept"
    );
}

#[test]
#[cfg(target_endian = "little")]
fn every_object_is_written_as_it_was_read() {
    let (mut objects, mut same) = (0, 0);
    for vector in vectors() {
        let Some(object) = object(vector.command, &vector.payload) else {
            continue;
        };
        let bytes = emit(&object);
        assert_eq!(
            self::object(vector.command, &bytes),
            Some(object),
            "{vector:?}"
        );
        objects += 1;
        same += u32::from(vector.is_request && bytes == vector.payload);
    }
    assert!(objects > 270, "{objects}");
    // nft's own messages, byte for byte; the others give sets numbers of their own.
    assert!(same > 35, "{same}");
}

#[test]
#[cfg(target_endian = "little")]
fn the_rules_of_a_filter_are_understood() {
    let mut others = BTreeSet::new();
    let mut names = BTreeSet::new();
    for object in objects(false, "-a list ruleset") {
        let Object::Rule(rule) = object else { continue };
        assert!(rule.other.is_empty(), "{rule:?}");
        for expression in rule.expressions() {
            names.insert(expression.name().to_owned());
            if let Expression::Other(other) = expression {
                others.insert(expression.name().to_owned());
                assert!(!other.data().is_empty());
            }
        }
    }
    assert_eq!(others, BTreeSet::from(["limit".to_owned()]));
    let known = [
        "bitwise",
        "cmp",
        "counter",
        "ct",
        "fib",
        "immediate",
        "lookup",
        "masq",
        "meta",
        "notrack",
        "payload",
        "range",
        "reject",
    ];
    for name in known {
        assert!(names.contains(name), "{name}");
    }
}

/// The attributes of a message, whatever their order.
fn attributes(payload: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::from([payload[..4].to_vec()]);
    let mut rest = &payload[4..];
    while let [low, high, ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).next_multiple_of(4);
        found.insert(rest[..length].to_vec());
        rest = &rest[length..];
    }
    found
}

#[test]
#[cfg(target_endian = "little")]
fn what_a_message_asks_for_is_in_its_type_and_flags() {
    let table = TableId {
        family: Family::IPV4,
        name: name("extras"),
    };
    let end = table.chain(name("end"));
    let id = TableId {
        family: Family::IPV4,
        name: name("kube-proxy-ipvs"),
    };
    let (vips, cluster_ips) = (id.set(name("vips")), id.set(name("cluster-ips")));
    let new = Table::new(table.clone());
    let set = some_set(&vips);
    let entry = [Entry::of(Value::ip([10, 96, 0, 11].into()))];
    let (entry, _) = Entries::split(&entry, 100);
    let rule = |verdict| Rule::new(end.clone(), vec![Expression::Verdict(verdict)]).unwrap();
    let mut accept = rule(Verdict::Accept);
    accept.userdata = accept
        .userdata
        .with_text(Userdata::COMMENT, "last")
        .unwrap();
    let drop = rule(Verdict::Drop);
    let other = Chain::new(table.chain(name("other")));
    let changes = [
        ("add table ip extras", Change::AddTable(&new)),
        ("create table ip extras", Change::CreateTable(&new)),
        (
            "delete element ip kube-proxy-ipvs vips { 10.96.0.11 }",
            Change::DeleteEntries(&set, entry),
        ),
        (
            "flush set ip kube-proxy-ipvs cluster-ips",
            Change::FlushSet(&cluster_ips),
        ),
        (
            "delete set ip kube-proxy-ipvs vips",
            Change::DeleteSet(&vips),
        ),
        (
            "add rule ip extras end accept comment \"last\"",
            Change::AddRule(&accept, Place::End),
        ),
        (
            "insert rule ip extras end drop",
            Change::AddRule(&drop, Place::Start),
        ),
        ("flush chain ip extras end", Change::FlushChain(&end)),
        ("delete chain ip extras end", Change::DeleteChain(&end)),
        ("add chain ip extras other", Change::AddChain(&other)),
        (
            "delete chain ip extras other",
            Change::DeleteChain(&other.id),
        ),
        ("flush table ip extras", Change::FlushTable(&table)),
        ("delete table ip extras", Change::DeleteTable(&table)),
    ];
    for (run, change) in changes {
        let mut bytes = Vec::new();
        change.emit(&mut bytes);
        let [low, high] = change.message_type().to_le_bytes();
        assert_eq!(high, 10);
        let found = vectors().into_iter().any(|vector| {
            vector.is_request
                && vector.run == run
                && vector.command == Some(low)
                && vector.flags == change.flags() | 1
                && attributes(&vector.payload) == attributes(&bytes)
        });
        assert!(found, "{run}: {change}");
    }
    let batch = |batch: Batch| {
        let mut bytes = Vec::new();
        batch.emit(&mut bytes);
        bytes
    };
    let mut sent = vectors();
    sent.retain(|vector| vector.is_request && vector.command.is_none());
    let sent: Vec<_> = sent.into_iter().map(|vector| vector.payload).collect();
    let begin = batch(Batch::Begin { generation: None });
    assert_eq!(sent, [begin, batch(Batch::End)]);
}

#[test]
#[cfg(target_endian = "little")]
fn generations_are_read() {
    let mut numbers = Vec::new();
    for vector in vectors() {
        if !vector.is_request && vector.command == Some(15) {
            numbers.push(parse_generation(&vector.payload).unwrap());
        }
    }
    assert!(numbers.len() > 5 && numbers.is_sorted(), "{numbers:?}");
    assert!(parse_generation(&[0; 4]).is_err());
}

fn read_all(payload: &[u8]) {
    let mut entries = Vec::new();
    let _ = (
        Table::parse(payload),
        Chain::parse(payload),
        Set::parse(payload),
    );
    let _ = (
        Rule::parse(payload),
        Entry::parse_list(payload, &mut entries),
    );
    let _ = parse_generation(payload);
}

#[test]
fn no_cut_or_bent_message_panics() {
    for vector in vectors() {
        let mut payload = vector.payload;
        for end in 0..payload.len() {
            read_all(&payload[..end]);
        }
        for at in 0..payload.len() {
            let kept = payload[at];
            for bent in [kept ^ 1, kept ^ 0x80, 0, 0xff, kept.wrapping_add(1)] {
                payload[at] = bent;
                read_all(&payload);
            }
            payload[at] = kept;
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn a_rule_of_more_steps_than_the_kernel_takes_is_refused() {
    let chain = TableId {
        family: Family::IPV4,
        name: name("t"),
    }
    .chain(name("c"));
    let steps = |count| vec![Expression::NoTrack; count];
    assert!(Rule::new(chain.clone(), steps(128)).is_ok());
    assert_eq!(Rule::new(chain, steps(129)), Err(RuleTooLong));
}

/// A step that says more than its type here can is no step of that type: a rule of others does not pass for ours.
#[test]
fn an_expression_with_more_to_it_is_kept_whole() {
    let table = TableId {
        family: Family::IPV4,
        name: name("t"),
    };
    let rule = Rule::new(
        table.chain(name("c")),
        vec![Expression::Masquerade { flags: 4 }],
    )
    .unwrap();
    let mut bytes = Vec::new();
    Change::AddRule(&rule, Place::End).emit(&mut bytes);
    // NFTA_MASQ_REG_PROTO_MIN, register 1, behind the flags.
    bytes.extend([8_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat());
    bytes.extend([0, 0, 0, 1]);
    // Each nest around them is eight bytes longer.
    let nests: Vec<usize> = [4_u16 | 0x8000, 1 | 0x8000, 2 | 0x8000]
        .map(u16::to_ne_bytes)
        .iter()
        .scan(4, |at, kind| {
            *at += bytes[*at..].windows(2).position(|two| two == kind)?;
            Some(*at - 2)
        })
        .collect();
    assert_eq!(nests.len(), 3);
    for at in nests {
        let length = u16::from_ne_bytes([bytes[at], bytes[at + 1]]) + 8;
        bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }
    let read = Rule::parse(&bytes).unwrap().object;
    assert!(
        matches!(&read.expressions()[0], Expression::Other(_)),
        "{read:?}"
    );
    assert_eq!(read.expressions()[0].name(), "masq");
    assert_ne!(read, rule);
    let mut again = Vec::new();
    Change::AddRule(&read, Place::End).emit(&mut again);
    assert_eq!(again, bytes);
}
