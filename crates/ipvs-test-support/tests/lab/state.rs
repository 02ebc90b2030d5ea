//! Reading and comparing states.

use ipvs_codec::Family;
use ipvs_model::input::Change;
use ipvs_model::{Config, LocalTraffic, Model, Plan, VipBinding};
use ipvs_proxier::{Control, DataPlane as _, FilterBackend, Linux, Manifests, load, observe};
use ipvs_test_support::{NetNs, filter_is_nftables};

/// What the proxiers of the tests make their filter with.
pub(crate) fn filter() -> FilterBackend {
    if filter_is_nftables() {
        FilterBackend::Nftables
    } else {
        FilterBackend::Auto
    }
}

/// The plan that a fresh proxier, as `node-0` with the arguments of the recorded states, would make in a namespace:
/// empty if there is nothing left to do.
pub(crate) fn open_plan(namespace: &NetNs, manifests: &std::path::Path, config: &Config) -> Plan {
    namespace
        .run(|| {
            let mut plane = Linux::open(filter()).unwrap();
            let known = observe(&mut plane, &Family::ALL).unwrap();
            let mut model = Model::new(config.clone());
            model.change(Change::NodeAddresses(plane.node_addresses().unwrap()));
            model.change(Change::SmallestMtu(plane.smallest_mtu().unwrap()));
            let control = Control::new();
            let paths = vec![manifests.to_owned()];
            let mut manifests = Manifests::follow(paths, control.waker()).unwrap();
            for change in load(&mut manifests, &control).unwrap() {
                model.change(change);
            }
            model.plan_everything(&known)
        })
        .unwrap()
}

/// The configuration of the recorded states.
pub(crate) fn config(masquerade_all: bool) -> Config {
    Config {
        node_name: "node-0".into(),
        masquerade_all,
        local_traffic: LocalTraffic::ClusterCidrs(vec!["10.244.0.0/16".parse().unwrap()]),
        ..Config::default()
    }
}

pub(crate) fn route_config() -> Config {
    Config {
        vip_binding: VipBinding::Route,
        ..config(false)
    }
}
