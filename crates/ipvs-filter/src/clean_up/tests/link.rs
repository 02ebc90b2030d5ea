//! The dummy interface and what is on it.

use super::*;

#[test]
fn the_dummy_interface_stays_with_what_is_not_ours() {
    let foreign = Vip::Address {
        address: ip("10.9.9.9"),
    };
    let mut remains = node();
    remains.link.as_mut().unwrap().vips.insert(foreign);
    let mut kernel = Kernel::with(remains.clone());
    let report = kernel.clean_up(&keep());
    assert_eq!(
        texts(&report),
        ["dummy interface: the address 10.9.9.9 on it is not ours"]
    );
    assert_eq!(kernel.remains.link.unwrap().vips, BTreeSet::from([foreign]));
    assert!(kernel.remains.sets.is_empty());
    // Asked to remove what is foreign, it goes with all that is on it.
    let mut kernel = Kernel::with(remains);
    assert_eq!(texts(&kernel.clean_up(&Config::default())), [""; 0]);
    assert_all_is_gone(&kernel);
}

#[test]
fn the_dummy_interface_stays_with_what_is_no_vip() {
    let with = |change: fn(&mut RemainingLink)| {
        let mut remains = node();
        change(remains.link.as_mut().unwrap());
        remains
    };
    let network = with(|link| link.networks.extend([ip("10.9.9.9")]));
    let route = with(|link| link.routes.extend([(ip("10.77.0.0"), 16)]));
    for config in [Config::default(), keep()] {
        for (remains, held) in [
            (&network, "the address 10.9.9.9 on it is not ours"),
            (&route, "the route to 10.77.0.0/16 through it is not ours"),
        ] {
            let mut kernel = Kernel::with(remains.clone());
            let left = texts(&kernel.clean_up(&config));
            assert_eq!(left, [format!("dummy interface: {held}")]);
            assert_eq!(kernel.remains.link.unwrap().vips, BTreeSet::new());
            assert!(kernel.remains.sets.is_empty());
        }
    }
}

#[test]
fn a_bridge_of_that_name_is_not_touched() {
    for config in [Config::default(), keep()] {
        let mut remains = node();
        remains.link.as_mut().unwrap().is_dummy = false;
        let before = remains.link.clone();
        let mut kernel = Kernel::with(remains);
        let left = texts(&kernel.clean_up(&config));
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].starts_with("dummy interface: a link of another kind has its name"));
        assert_eq!(kernel.remains.link, before);
        assert!(kernel.remains.sets.is_empty() && kernel.remains.virtual_servers.is_empty());
    }
}
