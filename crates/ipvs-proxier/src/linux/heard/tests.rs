use ipvs_model::FilterSet;

use super::*;

const US: u32 = 7;
const DUMMY: LinkIndex = LinkIndex(2);
const OTHER: LinkIndex = LinkIndex(3);

struct Somebody;

impl Who for Somebody {
    fn is_ours(&self, process: Option<u32>, _: u32) -> bool {
        process == Some(77)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node with a dummy interface that is down, and an address.
fn heard() -> Heard {
    let mut heard = Heard {
        own_port: US,
        ..Heard::default()
    };
    heard.read(NodeRead {
        dummy: Some((DUMMY, false)),
        addresses: vec![(OTHER, ip("192.168.50.10"))],
        gateways: Some(Vec::new()),
    });
    assert_eq!(heard.take(), []);
    heard
}

fn tell(heard: &mut Heard, port: u32, event: LinkEvent<'_>) -> Vec<Concern> {
    let notification = Notification {
        event,
        port,
        sequence: 1,
    };
    let _ = heard.link(notification);
    heard.take().into_iter().map(|event| event.what).collect()
}

fn address(link: LinkIndex, text: &str, is_gone: bool) -> LinkEvent<'static> {
    LinkEvent::Address {
        link,
        address: ip(text),
        is_gone,
    }
}

fn link(link: LinkIndex, name: &str, is_up: bool, is_gone: bool) -> LinkEvent<'_> {
    LinkEvent::Link {
        link,
        name,
        is_up,
        is_gone,
    }
}

const SECTION: [Concern; 1] = [Concern::Section(Section::Link)];

#[test]
fn what_this_process_binds_is_its_own_and_what_others_do_to_it_is_not() {
    let mut heard = heard();
    for text in ["10.96.0.10", "fd00::10"] {
        heard.binds([ip(text)].into_iter(), false);
        // The kernel does not say who adds an IPv6 address, and tells of it twice.
        let port = if ip(text).is_ipv4() { US } else { 0 };
        assert_eq!(tell(&mut heard, port, address(DUMMY, text, false)), []);
        assert_eq!(tell(&mut heard, port, address(DUMMY, text, false)), []);
        assert_eq!(tell(&mut heard, 0, address(DUMMY, text, true)), SECTION);
        heard.binds([ip(text)].into_iter(), false);
        heard.binds([ip(text)].into_iter(), true);
        assert_eq!(tell(&mut heard, port, address(DUMMY, text, true)), []);
        assert_eq!(tell(&mut heard, 99, address(DUMMY, text, false)), SECTION);
    }
    // What was there before this process came.
    heard.found([ip("fd00::11")].into_iter());
    assert_eq!(
        tell(&mut heard, 0, address(DUMMY, "fd00::11", true)),
        SECTION
    );
}

#[test]
fn the_dummy_interface_is_followed_by_its_name_and_index() {
    let mut heard = heard();
    assert_eq!(
        tell(&mut heard, 0, link(DUMMY, LINK, false, false)),
        [],
        "as known"
    );
    assert_eq!(tell(&mut heard, 0, link(DUMMY, LINK, true, false)), SECTION);
    assert_eq!(tell(&mut heard, 0, link(OTHER, "eth0", true, false)), []);
    assert!(!heard.is_outdated);
    // Somebody gives it another name: its addresses are the node's now.
    assert_eq!(
        tell(&mut heard, 0, link(DUMMY, "dummy0", true, false)),
        SECTION
    );
    assert!(heard.is_outdated);
    heard.read(NodeRead::default());
    heard.take();
    // This process makes another one and sets it up.
    heard.expect_link(true);
    assert_eq!(
        tell(&mut heard, 0, link(LinkIndex(9), LINK, false, false)),
        []
    );
    assert!(heard.is_outdated, "which kind it is must be read");
    assert_eq!(
        tell(&mut heard, 0, link(LinkIndex(9), LINK, true, false)),
        []
    );
    assert_eq!(
        tell(&mut heard, 0, link(LinkIndex(9), LINK, false, true)),
        SECTION
    );
}

#[test]
fn addresses_of_the_node_are_followed_without_reading_them() {
    let mut heard = heard();
    let (node, second) = ([Concern::Node], "192.168.50.77");
    assert_eq!(tell(&mut heard, 0, address(OTHER, second, false)), node);
    assert_eq!(
        tell(&mut heard, 0, address(OTHER, second, false)),
        [],
        "its lifetime changed"
    );
    let all = [ip("192.168.50.10"), ip(second)];
    assert_eq!(heard.addresses().unwrap(), all);
    // On another link as well.
    let third = LinkIndex(4);
    assert_eq!(tell(&mut heard, 0, address(third, second, false)), node);
    assert_eq!(tell(&mut heard, 0, address(third, second, true)), node);
    assert_eq!(heard.addresses().unwrap(), all);
    assert_eq!(tell(&mut heard, 0, address(OTHER, second, true)), node);
    assert_eq!(heard.addresses().unwrap(), all[..1]);
    assert_eq!(tell(&mut heard, 0, address(OTHER, "127.0.0.2", false)), []);
}

#[test]
fn of_thousands_of_routes_only_those_count_that_mean_something() {
    let mut heard = heard();
    let mut route = RouteEvent {
        family: Family::Ipv4,
        table: TABLE_MAIN,
        address: None,
        link: Some(OTHER),
        is_local: false,
        is_kernels: false,
        has_gateway: false,
        is_gone: false,
    };
    assert_eq!(tell(&mut heard, 5, LinkEvent::Route(route)), []);
    assert!(!heard.is_route_new);
    route.has_gateway = true;
    assert_eq!(tell(&mut heard, 5, LinkEvent::Route(route)), []);
    assert!(heard.is_route_new);
    heard.read_gateways(vec![ip("192.168.50.1")]);
    assert_eq!(heard.take().len(), 1);
    heard.read_gateways(vec![ip("192.168.50.1")]);
    assert_eq!(heard.take(), [], "as before");
    // A VIP's.
    route = RouteEvent {
        table: TABLE_LOCAL,
        address: Some(ip("10.96.0.10")),
        link: Some(DUMMY),
        is_local: true,
        has_gateway: false,
        ..route
    };
    assert_eq!(tell(&mut heard, US, LinkEvent::Route(route)), []);
    assert_eq!(tell(&mut heard, 5, LinkEvent::Route(route)), SECTION);
    // The kernel's own goes with its address; alone it leaves the address dead.
    route.is_kernels = true;
    route.is_gone = true;
    assert_eq!(tell(&mut heard, 0, LinkEvent::Route(route)), []);
    assert!(heard.routeless.is_empty());
    assert_eq!(tell(&mut heard, 5, LinkEvent::Route(route)), SECTION);
    assert!(heard.routeless.contains(&ip("10.96.0.10")));
    heard.binds([ip("10.96.0.10")].into_iter(), false);
    assert!(heard.routeless.is_empty());
}

#[test]
fn rules_count_once_their_transaction_is_complete_unless_this_process_made_it() {
    let mut heard = heard();
    let mut tell = |events: &[NftEvent<'_>], port: u32| {
        for event in events {
            let notification = Notification {
                event: *event,
                port,
                sequence: 1,
            };
            heard.rules(notification, &Somebody);
        }
        heard.take()
    };
    let changed = |family, table, what| NftEvent::Changed {
        family,
        table,
        what,
    };
    let done = |process| NftEvent::Generation {
        id: Some(1),
        process: Some(process),
        program: "nft",
    };
    let rule = changed(2, "nat", NftObject::Rule);
    assert_eq!(tell(&[rule], 5), [], "it is not complete");
    let told = tell(&[rule, done(42)], 5);
    assert_eq!(told[0].what, Concern::Section(Section::Rules(Family::Ipv4)));
    assert_eq!(told[0].by.as_ref().unwrap().to_string(), "nft (process 42)");
    assert_eq!(told.len(), 1);
    assert_eq!(tell(&[rule, done(77)], 5), [], "ours");
    let others = [
        changed(1, "nat", NftObject::Rule),
        changed(2, "cni", NftObject::Chain),
        changed(10, "filter", NftObject::Entries),
        done(42),
    ];
    assert_eq!(tell(&others, 5), []);
}

#[test]
fn of_the_filter_of_nftables_sets_are_told_too_and_other_tables_never() {
    let mut heard = heard();
    heard.filter_port = Some(US);
    let mut tell = |table, what, port| {
        let changed = NftEvent::Changed {
            family: 2,
            table,
            what,
        };
        let done = NftEvent::Generation {
            id: Some(1),
            process: Some(42),
            program: "nft",
        };
        for event in [changed, done] {
            let sequence = 1;
            let notification = Notification {
                event,
                port,
                sequence,
            };
            heard.rules(notification, &Somebody);
        }
        heard.take().into_iter().map(|event| event.what).collect()
    };
    let rules = Concern::Section(Section::Rules(Family::Ipv4));
    let sets = FilterSet::ALL.map(|set| Concern::Section(Section::Set(set, Family::Ipv4)));
    let ours = "kube-proxy-ipvs";
    let concerns: Vec<Concern> = tell(ours, NftObject::Rule, 9);
    assert_eq!(concerns, [rules]);
    let concerns: BTreeSet<Concern> = tell(ours, NftObject::Entries, 9).into_iter().collect();
    assert_eq!(concerns, sets.into());
    let all = sets.into_iter().chain([rules]);
    let concerns: BTreeSet<Concern> = tell(ours, NftObject::Table, 9).into_iter().collect();
    assert_eq!(concerns, all.collect());
    assert_eq!(tell(ours, NftObject::Table, US), [], "by our own socket");
    for what in [NftObject::Rule, NftObject::Table, NftObject::Set] {
        assert_eq!(tell("nat", what, 9), []);
    }
    heard.lost_rules(&[Family::Ipv4]);
    assert_eq!(heard.take().len(), sets.len() + 1);
}

#[test]
fn what_was_lost_is_everything() {
    let mut heard = heard();
    heard.lost_links();
    heard.lost_links();
    heard.lost_rules(&Family::ALL);
    assert!(heard.is_outdated);
    let events = heard.take();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.cause == DriftCause::Lost));
    // A storm keeps one event of each concern.
    for count in 0..5_000_u32 {
        let ip = IpAddr::from(count.to_be_bytes());
        let event = LinkEvent::Address {
            link: if count % 2 == 0 { DUMMY } else { OTHER },
            address: ip,
            is_gone: false,
        };
        let notification = Notification {
            event,
            port: 9,
            sequence: 1,
        };
        let _ = heard.link(notification);
    }
    assert_eq!(heard.take().len(), 2);
}

#[test]
fn a_program_is_asked_for_until_it_is_named_and_names_what_nobody_has_taken() {
    let mut heard = heard();
    let gone = |port| Notification {
        event: address(DUMMY, "10.96.0.10", true),
        port,
        sequence: 1,
    };
    assert_eq!(heard.link(gone(0)), None, "the kernel itself");
    assert_eq!(heard.link(gone(US)), None);
    for _ in 0..2 {
        assert_eq!(heard.link(gone(99)).map(NonZeroU32::get), Some(99));
    }
    let by = |name: &str| ChangedBy {
        name: name.to_owned(),
        process: 99,
    };
    heard.name_link(by("ip"));
    heard.name_link(by("another"));
    assert_eq!(heard.link(gone(98)), None, "one name is enough");
    let events = heard.take();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].by, Some(by("ip")));
    // It comes too late.
    heard.name_link(by("ip"));
    assert_eq!(heard.take(), []);
}

#[test]
fn an_address_that_was_missed_comes_out_when_the_node_is_asked_for_again() {
    let (mut heard, start) = (heard(), Instant::now());
    assert!(heard.read_again(start) && heard.is_outdated);
    heard.read(NodeRead {
        dummy: Some((DUMMY, false)),
        addresses: vec![(OTHER, ip("192.168.50.10")), (OTHER, ip("192.168.50.11"))],
        gateways: Some(Vec::new()),
    });
    let node: Vec<Concern> = heard.take().into_iter().map(|event| event.what).collect();
    assert_eq!(node, [Concern::Node]);
    assert_eq!(heard.addresses().unwrap().len(), 2);
    // Whoever asks for it all the time does not have it read all the time.
    assert!(!heard.read_again(start + BETWEEN_READS / 2) && !heard.is_outdated);
    assert!(heard.read_again(start + BETWEEN_READS) && heard.is_outdated);
}
