//! How much memory an object takes, about, so that all of a kind together have a bound.

use std::mem::size_of;
use std::sync::Arc;

use ipvs_model::input::{
    Change, Endpoint, EndpointSlice, Node, ObjectKind, Service, ServicePort, SlicePort,
};

use super::api_object::ApiObject;

/// What each object takes, however small it is: here, in the model, and in indices by name.
const EACH: usize = 512;

/// What all objects of a kind may take, in bytes: several times what 100,000 Services, 1,000,000 endpoints with a slice each,
/// or 15,000 Nodes do.
#[cfg_attr(
    not(feature = "kube"),
    allow(dead_code, reason = "lists and watches are read by themselves too")
)]
pub(super) const fn bound_of_all(kind: ObjectKind) -> usize {
    match kind {
        ObjectKind::Service => 256 << 20,
        ObjectKind::EndpointSlice => 1024 << 20,
        ObjectKind::Node => 64 << 20,
    }
}

/// What one object takes for as long as it is there, in bytes, about. O(its endpoints, ports and addresses).
pub(super) fn weight(object: &ApiObject) -> usize {
    let name = object.name.as_ref();
    let name = name.map_or(0, |name| sum([name.namespace.len(), name.name.len()]));
    let rest = match &object.change {
        Ok(Change::Service(service)) => of_service(service),
        Ok(Change::EndpointSlice(slice)) => of_slice(slice),
        Ok(Change::Node(node)) => of_node(node),
        Ok(_) => 0,
        Err(problem) => problem.len(),
    };
    sum([EACH, name, rest])
}

fn of_service(service: &Service) -> usize {
    let Service {
        created,
        cluster_ips,
        ports,
        external_ips,
        load_balancer_ips,
        source_ranges,
        load_balancer_class,
        tuning,
        problems,
        ..
    } = service;
    let names = ports.iter().map(|port| port.name.len()).sum();
    let told = problems
        .iter()
        .map(|problem| {
            sum([
                size_of_val(problem),
                problem.field.len(),
                problem.value.len(),
            ])
        })
        .sum();
    let weights = tuning.iter().flat_map(|tuning| tuning.weights.keys());
    let weights = weights.map(|node| sum([size_of::<(Box<str>, u32)>(), node.len()]));
    sum([
        created.as_ref().map_or(0, String::len),
        size_of_val(cluster_ips.as_slice()),
        size_of_val::<[ServicePort]>(ports),
        names,
        size_of_val(external_ips.as_slice()),
        size_of_val(load_balancer_ips.as_slice()),
        size_of_val(source_ranges.as_slice()),
        load_balancer_class.as_ref().map_or(0, |class| class.len()),
        told,
        weights.sum(),
    ])
}

fn of_slice(slice: &EndpointSlice) -> usize {
    let names = slice.ports.iter().map(|port| port.name.len()).sum();
    let endpoints = slice.endpoints.iter().map(of_endpoint).sum();
    sum([size_of_val::<[SlicePort]>(&slice.ports), names, endpoints])
}

fn of_endpoint(endpoint: &Endpoint) -> usize {
    let hints = [endpoint.zone_hints(), endpoint.node_hints()];
    let hints = hints.into_iter().flatten();
    let hints = hints.map(|hint| sum([size_of::<Arc<str>>(), hint.len()]));
    let node = endpoint.node.as_ref().map_or(0, |node| node.len());
    sum([size_of_val(endpoint), node, hints.sum()])
}

fn of_node(node: &Node) -> usize {
    sum([
        size_of_val(node.addresses.as_slice()),
        size_of_val(node.pod_cidrs.as_slice()),
        node.zone.as_ref().map_or(0, String::len),
    ])
}

/// None of the parts comes near the end of the numbers: they are in memory.
fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighed(kind: ObjectKind, json: &str) -> usize {
        weight(&ApiObject::read(kind, json.as_bytes()))
    }

    #[test]
    fn the_largest_clusters_have_room() {
        let ports = r#"{"name": "http-metrics", "port": 8080, "protocol": "TCP"}"#;
        let service = weighed(
            ObjectKind::Service,
            &format!(
                r#"{{"metadata": {{"name": "a-service-with-a-long-name", "namespace": "a-namespace-with-a-long-name",
                    "creationTimestamp": "2026-01-01T00:00:00Z"}},
                  "spec": {{"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
                    "externalIPs": ["192.0.2.1"], "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"],
                    "ports": [{ports}, {ports}, {ports}, {ports}]}},
                  "status": {{"loadBalancer": {{"ingress": [{{"ip": "192.0.2.2"}}]}}}}}}"#
            ),
        );
        assert!(
            service * 100_000 * 2 < bound_of_all(ObjectKind::Service),
            "{service}"
        );
        let endpoint = r#"{"addresses": ["10.244.0.1"], "nodeName": "ip-10-0-0-1.eu-central-1.compute.internal",
            "hints": {"forZones": [{"name": "eu-central-1a"}]}}"#;
        let slice = |endpoints: usize| {
            weighed(
                ObjectKind::EndpointSlice,
                &format!(
                    r#"{{"metadata": {{"name": "a-service-with-a-long-name-abcde", "namespace": "a-namespace-with-a-long-name",
                        "labels": {{"kubernetes.io/service-name": "a-service-with-a-long-name"}}}},
                      "addressType": "IPv4", "ports": [{ports}], "endpoints": [{}]}}"#,
                    vec![endpoint; endpoints].join(",")
                ),
            )
        };
        let bound = bound_of_all(ObjectKind::EndpointSlice);
        assert!(slice(1) * 1_000_000 < bound, "{}", slice(1));
        assert!(slice(100) * 10_000 * 4 < bound, "{}", slice(100));
    }

    /// What an object can be made of, each much of the same.
    #[test]
    fn whatever_an_object_has_much_of_is_weighed() {
        let many = |item: &str| vec![item; 1000].join(",");
        let service = |spec: &str| {
            let text = format!(r#"{{"metadata": {{"name": "a"}}, "spec": {{{spec}}}}}"#);
            weighed(ObjectKind::Service, &text)
        };
        let ips = many(r#""10.0.0.1""#);
        let weighed = [
            service(&format!(r#""externalIPs": [{ips}]"#)),
            service(&format!(r#""externalIPs": [{}]"#, many(r#""x""#))),
            service(&format!(
                r#""loadBalancerSourceRanges": [{}]"#,
                many(r#""10.0.0.0/8""#)
            )),
            service(&format!(r#""ports": [{}]"#, many(r#"{"port": 80}"#))),
            service(&format!(
                r#""ports": [{{"port": 80, "name": "{}"}}]"#,
                "x".repeat(9000)
            )),
            service(&format!(r#""loadBalancerClass": "{}""#, "x".repeat(9000))),
            weighed(
                ObjectKind::EndpointSlice,
                &format!(
                    r#"{{"metadata": {{"name": "a"}}, "addressType": "IPv4", "endpoints": [{}]}}"#,
                    many(r#"{"addresses": ["10.0.0.1"]}"#)
                ),
            ),
            weighed(
                ObjectKind::Node,
                &format!(
                    r#"{{"metadata": {{"name": "a"}}, "status": {{"addresses": [{}]}}}}"#,
                    many(r#"{"type": "InternalIP", "address": "10.0.0.1"}"#)
                ),
            ),
            weighed(
                ObjectKind::Node,
                &format!(r#"{{"metadata": {{"name": "{}"}}}}"#, "x".repeat(9000)),
            ),
        ];
        for (number, weight) in weighed.iter().enumerate() {
            assert!(*weight > 9000, "{number}: {weight}");
        }
    }
}
