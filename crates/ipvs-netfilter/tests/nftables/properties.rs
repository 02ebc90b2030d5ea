//! Whatever objects there are, they survive being written and read; whatever bytes there are, none of them panics.

use proptest::prelude::*;

use super::*;

fn names() -> impl Strategy<Value = Name> {
    "[a-z][-a-z0-9]{0,30}".prop_map(|text| name(&text))
}

fn tables() -> impl Strategy<Value = TableId> {
    let families = prop_oneof![Just(Family::IPV4), Just(Family::IPV6), Just(Family::INET)];
    (families, names()).prop_map(|(family, name)| TableId { family, name })
}

fn values() -> impl Strategy<Value = Value> {
    proptest::collection::vec(any::<u8>(), 1..=64)
        .prop_map(|bytes| Value::from_bytes(&bytes).unwrap())
}

fn registers() -> impl Strategy<Value = Register> {
    (0..16_usize).prop_map(|index| Register::FIRST.after(index * 4).unwrap())
}

fn comments() -> impl Strategy<Value = Userdata> {
    let comment = |text: String| {
        Userdata::default()
            .with_text(Userdata::COMMENT, &text)
            .unwrap()
    };
    prop_oneof![Just(Userdata::default()), "[ -~]{0,60}".prop_map(comment)]
}

fn expressions() -> impl Strategy<Value = Expression> {
    let verdicts = prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Return),
        names().prop_map(Verdict::Jump),
        names().prop_map(Verdict::Goto),
    ];
    let directions = prop_oneof![
        Just(None),
        Just(Some(Direction::Original)),
        Just(Some(Direction::Reply))
    ];
    let comparisons = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::AtMost),
        Just(Comparison::Greater),
        Just(Comparison::AtLeast),
    ];
    let rejects = prop_oneof![
        any::<u8>().prop_map(Reject::Unreachable),
        any::<u8>().prop_map(Reject::UnreachableInet),
        Just(Reject::Reset),
    ];
    let number = any::<u32>;
    let pairs = proptest::collection::vec(any::<[u8; 2]>(), 1..=64).prop_map(|pairs| {
        let side = |at: usize| pairs.iter().map(|pair| pair[at]).collect::<Vec<_>>();
        [0, 1].map(|at| Value::from_bytes(&side(at)).unwrap())
    });
    prop_oneof![
        (number(), number(), number(), registers()).prop_map(|(base, offset, length, to)| {
            Expression::Payload {
                base: PayloadBase(base),
                offset,
                length,
                to,
            }
        }),
        (number(), registers()).prop_map(|(key, to)| Expression::Meta {
            key: MetaKey(key),
            to
        }),
        (number(), registers()).prop_map(|(key, from)| Expression::SetMeta {
            key: MetaKey(key),
            from
        }),
        (number(), directions, registers()).prop_map(|(key, direction, to)| Expression::Ct {
            key: CtKey(key),
            direction,
            to
        }),
        (number(), number(), registers()).prop_map(|(result, flags, to)| {
            Expression::Fib {
                result: FibResult(result),
                flags,
                to,
            }
        }),
        (values(), registers()).prop_map(|(value, to)| Expression::Immediate { value, to }),
        (registers(), registers(), pairs).prop_map(|(from, to, [mask, xor])| Expression::Bitwise {
            from,
            to,
            mask,
            xor
        }),
        (registers(), comparisons, values()).prop_map(|(register, how, value)| {
            Expression::Compare {
                register,
                how,
                value,
            }
        }),
        (registers(), any::<bool>(), values(), values()).prop_map(
            |(register, inverted, first, last)| Expression::Range {
                register,
                inverted,
                first,
                last
            }
        ),
        (names(), registers(), any::<bool>()).prop_map(|(set, register, inverted)| {
            Expression::Lookup {
                set,
                register,
                inverted,
            }
        }),
        verdicts.prop_map(Expression::Verdict),
        rejects.prop_map(Expression::Reject),
        number().prop_map(|flags| Expression::Masquerade { flags }),
        Just(Expression::NoTrack),
        any::<[u64; 2]>()
            .prop_map(|[packets, bytes]| Expression::Counter(Counts { packets, bytes })),
    ]
}

fn entries() -> impl Strategy<Value = Entry> {
    let keys = prop_oneof![
        values().prop_map(Key::Value),
        values().prop_map(Key::End),
        (values(), values()).prop_map(|(first, last)| Key::Range(first, last)),
        Just(Key::CatchAll),
    ];
    (keys, comments()).prop_map(|(key, userdata)| Entry {
        userdata,
        ..Entry::from(key)
    })
}

fn all_objects() -> impl Strategy<Value = Object> {
    let chains = (names(), any::<Option<(u32, i32, bool)>>());
    let fields = prop_oneof![
        Just(KeyField::Ipv4),
        Just(KeyField::Ipv6),
        Just(KeyField::Protocol),
        Just(KeyField::Port),
        Just(KeyField::Mark),
    ];
    let keys = proptest::collection::vec(fields, 1..=4);
    prop_oneof![
        (tables(), any::<u32>(), comments()).prop_map(|(id, flags, userdata)| {
            Object::Table(Table {
                flags,
                userdata,
                ..Table::new(id)
            })
        }),
        (tables(), chains, comments()).prop_map(|(table, (name, base), userdata)| {
            let mut chain = Chain {
                userdata,
                ..Chain::new(table.chain(name))
            };
            chain.base = base.map(|(hook, priority, drops)| BaseChain {
                policy: if drops { Policy::Drop } else { Policy::Accept },
                ..BaseChain::nat(Hook(hook), priority)
            });
            Object::Chain(chain)
        }),
        (tables(), names(), keys, any::<(bool, Option<u32>)>()).prop_map(
            |(table, name, fields, (intervals, size))| {
                let key = KeyType::of(&fields).unwrap();
                let id = table.set(name);
                let set = if intervals {
                    Set::of_intervals(id, &key)
                } else {
                    Set::new(id, &key)
                };
                Object::Set(Set { size, ..set })
            }
        ),
        (
            tables(),
            names(),
            proptest::collection::vec(expressions(), 0..12),
            comments()
        )
            .prop_map(|(table, name, expressions, userdata)| {
                let mut rule = Rule::new(table.chain(name), expressions).unwrap();
                rule.userdata = userdata;
                Object::Rule(rule)
            }),
        (
            tables(),
            names(),
            proptest::collection::vec(entries(), 1..20)
        )
            .prop_map(|(table, name, entries)| Object::Entries(table.set(name), entries)),
    ]
}

proptest! {
    #[test]
    fn objects_survive_the_wire(object in all_objects()) {
        let command = match object {
            Object::Table(_) => 0,
            Object::Chain(_) => 3,
            Object::Rule(_) => 6,
            Object::Set(_) => 9,
            Object::Entries(..) => 12,
        };
        let bytes = emit(&object);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(self::object(Some(command), &bytes), Some(object));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn entries_are_split_to_fit(entries in proptest::collection::vec(entries(), 0..60), room in 0..3000_usize) {
        let mut rest = &entries[..];
        let mut seen = Vec::new();
        let set = some_set(&TableId { family: Family::IPV4, name: name("t") }.set(name("s")));
        while !rest.is_empty() {
            let (first, behind) = Entries::split(rest, room);
            prop_assert!(!first.as_slice().is_empty());
            let mut bytes = Vec::new();
            Change::AddEntries(&set, first).emit(&mut bytes);
            // Header, both names, and the header of the list.
            prop_assert_eq!(bytes.len(), first.bytes() + 4 + 8 + 8 + 4);
            prop_assert!(first.as_slice().len() == 1 || first.bytes() <= room);
            seen.extend(first.as_slice().iter().cloned());
            rest = behind;
        }
        prop_assert_eq!(seen, entries);
    }
}
