//! ipset messages against the bytes that the `ipset` program sends, and the text of the rules.

use ipvs_netfilter::ipset::{
    Entry, EntryProtocol, Listing, Request, SetFamily, SetName, SetSpec, SetType,
};
use ipvs_netfilter::iptables::{Removal, Rule, Ruleset, SavedRules, Table, TableRules};
use proptest::prelude::*;

fn name(text: &str) -> SetName {
    text.parse().unwrap()
}

fn bytes(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

#[test]
#[cfg(target_endian = "little")]
fn an_entry_is_added_with_flagged_network_order() {
    let entry = Entry::IpPort([10, 96, 0, 10].into(), EntryProtocol::TCP, 80);
    let expected = [
        &[2, 0, 0, 0][..],               // nfgenmsg: AF_INET, version 0, resource 0
        &[5, 0, 1, 0, 6, 0, 0, 0],       // IPSET_ATTR_PROTOCOL 6
        &[6, 0, 2, 0, b'S', 0, 0, 0],    // IPSET_ATTR_SETNAME "S"
        &[32, 0, 7, 0x80],               // IPSET_ATTR_DATA, nested
        &[12, 0, 1, 0x80],               // IPSET_ATTR_IP, nested
        &[8, 0, 1, 0x40, 10, 96, 0, 10], // IPSET_ATTR_IPADDR_IPV4, network order
        &[6, 0, 4, 0x40, 0, 80, 0, 0],   // IPSET_ATTR_PORT, network order
        &[5, 0, 7, 0, 6, 0, 0, 0],       // IPSET_ATTR_PROTO
    ]
    .concat();
    assert_eq!(bytes(Request::Add(name("S"), entry)), expected);
}

fn entry() -> impl Strategy<Value = (SetType, Entry)> {
    let v6 = || any::<[u8; 16]>().prop_map(std::net::IpAddr::from);
    let protocol = || any::<u8>().prop_map(EntryProtocol);
    prop_oneof![
        v6().prop_map(|ip| (SetType::HashIp, Entry::Ip(ip))),
        any::<u16>().prop_map(|port| (SetType::BitmapPort, Entry::Port(port))),
        (v6(), protocol(), any::<u16>()).prop_map(|(ip, protocol, port)| (
            SetType::HashIpPort,
            Entry::IpPort(ip, protocol, port)
        )),
        (v6(), protocol(), any::<u16>(), v6()).prop_map(|(ip, protocol, port, second)| {
            (
                SetType::HashIpPortIp,
                Entry::IpPortIp(ip, protocol, port, second),
            )
        }),
        (v6(), protocol(), any::<u16>(), v6(), 1..=128_u8).prop_map(
            |(ip, protocol, port, net, prefix)| {
                let net = ipnet::IpNet::new(net, prefix).unwrap().trunc();
                (
                    SetType::HashIpPortNet,
                    Entry::IpPortNet(ip, protocol, port, net),
                )
            }
        ),
    ]
}

/// What the kernel answers to LIST, from the entry as ADD writes it.
fn listing(set_type: SetType, entry: Entry) -> Vec<u8> {
    let family = if set_type == SetType::BitmapPort {
        SetFamily::Unspec
    } else {
        SetFamily::Inet6
    };
    let spec = SetSpec {
        name: name("S"),
        set_type,
        family,
    };
    let mut created = bytes(Request::Create(&spec, 0));
    let added = bytes(Request::Add(name("S"), entry));
    let data = &added[20..]; // behind header, protocol and name
    created.extend(u16::try_from(data.len() + 4).unwrap().to_ne_bytes());
    created.extend((8_u16 | 0x8000).to_ne_bytes());
    created.extend(data);
    created
}

/// The length of the ADT nest in such an answer.
fn members_len(set_type: SetType, entry: Entry) -> usize {
    let family = if set_type == SetType::BitmapPort {
        SetFamily::Unspec
    } else {
        SetFamily::Inet6
    };
    let spec = SetSpec {
        name: name("S"),
        set_type,
        family,
    };
    listing(set_type, entry).len() - bytes(Request::Create(&spec, 0)).len()
}

proptest! {
    #[test]
    fn entries_survive_the_wire((set_type, entry) in entry()) {
                let first = listing(set_type, entry);
        // The kernel says the type only once; the head of a further part ends behind the name.
        let further = [&first[..20], &first[first.len() - members_len(set_type, entry)..]].concat();
        let mut listing = Listing::default();
        listing.read(&first).unwrap();
        listing.read(&further).unwrap();
        prop_assert_eq!(listing.entries, vec![entry, entry]);
        prop_assert_eq!(listing.head.unwrap().spec().unwrap().set_type, set_type);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), cut in 0..200_usize) {
                let _ = Listing::default().read(&bytes);
        let whole = listing(SetType::HashIp, Entry::Ip([1, 2, 3, 4].into()));
                let _ = Listing::default().read(&whole[..cut.min(whole.len())]);
    }

    #[test]
    fn no_saved_text_panics(text in "(\\*nat\n|:[A-Z]{0,3} |-A [A-Z]{0,2} |\\[1:2\\] |\n|x){0,12}") {
        let _ = SavedRules::parse(&text);
    }
}

#[test]
fn a_full_prefix_is_listed_without_suffix() {
    let net = "9.9.9.9/32".parse().unwrap();
    let entry = Entry::IpPortNet([10, 0, 0, 1].into(), EntryProtocol::SCTP, 5, net);
    assert_eq!(entry.to_string(), "10.0.0.1,sctp:5,9.9.9.9");
}

fn ruleset() -> Ruleset {
    let jump = Rule::new()
        .comment("kubernetes service portals")
        .jump("KUBE-SERVICES");
    Ruleset {
        nat: TableRules {
            chains: vec![(
                "KUBE-SERVICES".into(),
                vec![Rule::new().raw("-s 127.0.0.0/8").jump("RETURN")],
            )],
            jumps: vec![("OUTPUT".into(), jump)],
        },
        filter: TableRules::default(),
    }
}

#[test]
fn only_what_is_missing_is_restored() {
    let empty = SavedRules::default();
    let text = ruleset().restore_text(&empty);
    assert_eq!(
        text,
        "*nat\n:KUBE-SERVICES - [0:0]\n\
         -I OUTPUT 1 -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN\nCOMMIT\n*filter\nCOMMIT\n"
    );
    let saved = SavedRules::parse(
        "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j MINE\n\
         [3:180] -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN\nCOMMIT\n",
    );
    assert!(ruleset().is_in(&saved));
    assert!(!ruleset().is_in(&empty));
    assert!(!ruleset().restore_text(&saved).contains("-I OUTPUT"));
    assert!(saved.has(Table::Nat, "OUTPUT", &Rule::new().jump("MINE")));
}

#[test]
fn what_was_removed_is_not_there_any_more() {
    let text = "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n\
                -A OUTPUT -j A\n-A OUTPUT -j A\n-A A -j B\n-A B -g A\nCOMMIT\n";
    let mut saved = SavedRules::parse(text);
    let jump = ("OUTPUT".to_owned(), Rule::new().jump("A"));
    saved.removed(&Removal {
        rules: vec![jump],
        flushed: vec!["A".into()],
        deleted: vec!["B".into()],
        ..Removal::of(Table::Nat)
    });
    saved.removed(&Removal {
        deleted: vec!["KUBE-PROXY-CANARY".into()],
        ..Removal::of(Table::Mangle)
    });
    let left: Vec<_> = saved.chains().collect();
    let once = [Rule::new().jump("A")];
    assert_eq!(
        left,
        [
            (Table::Nat, "A", &[][..]),
            (Table::Nat, "OUTPUT", &once[..])
        ],
        "a rule that is there twice is there once"
    );
}

#[test]
fn rules_that_match_a_set_are_left_out() {
    let rule = |set: &str| Rule::new().match_set(name(set), "dst").jump("ACCEPT");
    let filter = TableRules {
        chains: vec![("KUBE-FORWARD".into(), vec![rule("A"), rule("AB")])],
        jumps: Vec::new(),
    };
    let rules = Ruleset {
        nat: TableRules::default(),
        filter,
    };
    let without = rules.clone().without_sets(&[name("A")]);
    assert_eq!(without.filter.chains[0].1, [rule("AB")]);
    assert_eq!(rules.clone().without_sets(&[name("B")]), rules);
}

/// As the kernel lists them: head and parameters; what has no value in the set is left out.
#[test]
fn a_set_that_cannot_stand_in_says_why() {
    let read = |spec: &SetSpec, parameters: &[(u16, &[u8])]| {
        let mut created = bytes(Request::Create(spec, 0));
        let mut nest = Vec::new();
        for (kind, value) in parameters {
            nest.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            nest.extend(kind.to_ne_bytes());
            nest.extend(*value);
            nest.resize(nest.len().next_multiple_of(4), 0);
        }
        created.extend(u16::try_from(nest.len() + 4).unwrap().to_ne_bytes());
        created.extend((7_u16 | 0x8000).to_ne_bytes());
        created.extend(nest);
        let mut listing = Listing::default();
        listing.read(&created).unwrap();
        listing.head.unwrap()
    };
    let spec = |set_type, family| SetSpec {
        name: name("KUBE-X"),
        set_type,
        family,
    };
    let hash = spec(SetType::HashIpPort, SetFamily::Inet);
    let bitmap = spec(SetType::BitmapPort, SetFamily::Unspec);
    let why = |found: &SetSpec, parameters: &[(u16, &[u8])], wanted: &SetSpec| {
        let difference = read(found, parameters).difference(wanted);
        difference.map(|difference| difference.to_string())
    };
    let why = |found: &SetSpec, parameters: &[(u16, &[u8])], wanted: &SetSpec, text: &str| {
        assert_eq!(why(found, parameters, wanted).as_deref(), Some(text));
    };
    why(
        &spec(SetType::HashIp, SetFamily::Inet),
        &[],
        &hash,
        "it is of type hash:ip, not hash:ip,port",
    );
    why(
        &hash,
        &[],
        &bitmap,
        "it is of type hash:ip,port, not bitmap:port",
    );
    why(
        &spec(SetType::HashIpPort, SetFamily::Inet6),
        &[],
        &hash,
        "it is of family inet6, not inet",
    );
    let timeout = 600_u32.to_be_bytes();
    why(
        &hash,
        &[(6 | 0x4000, &timeout)],
        &hash,
        "its entries go by themselves after 600 s",
    );
    let ports: [(u16, &[u8]); 2] = [(4 | 0x4000, &[0, 0]), (5 | 0x4000, &[3, 232])];
    why(
        &bitmap,
        &ports,
        &bitmap,
        "it has room for ports 0 to 1000 only",
    );
    why(&hash, &[(20, &[24])], &hash, "it cuts addresses to 24 bits");
    // hashsize, maxelem, counters and comment, references: as good as ours.
    let other: [(u16, &[u8]); 4] = [
        (18 | 0x4000, &[0, 0, 4, 0]),
        (19 | 0x4000, &[0, 0, 0, 9]),
        (8 | 0x4000, &[0, 0, 0, 24]),
        (25 | 0x4000, &[0, 0, 0, 3]),
    ];
    assert_eq!(read(&hash, &other).difference(&hash), None);
    assert_eq!(read(&hash, &[]).difference(&hash), None);
}

/// The kernel has more types than are used here: `hash:net`, `list:set`.
#[test]
fn a_set_of_an_unknown_type_is_read_without_its_entries() {
    let spec = SetSpec {
        name: name("S"),
        set_type: SetType::HashIp,
        family: SetFamily::Inet6,
    };
    let mut message = listing(SetType::HashIp, Entry::Ip([0; 16].into()));
    let at = message.windows(8).position(|bytes| bytes == b"hash:ip\0");
    message[at.unwrap()..][..7].copy_from_slice(b"hash:no");
    let mut listing = Listing::default();
    listing.read(&message).unwrap();
    let head = listing.head.unwrap();
    assert_eq!((head.spec(), listing.entries.len()), (None, 0));
    let difference = head.difference(&spec).unwrap();
    assert_eq!(difference.to_string(), "it is of type hash:no, not hash:ip");
}

#[test]
fn quotes_are_escaped_as_iptables_save_does() {
    assert_eq!(
        Rule::new().comment("type 'hash'").as_str(),
        r#"-m comment --comment "type \'hash\'""#
    );
}
