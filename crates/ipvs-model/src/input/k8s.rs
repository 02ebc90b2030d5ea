//! From the types of `k8s-openapi`, which clients such as `kube` hand out. The same rules as for manifests.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::metadata::Metadata;
use super::node::Node;
use super::raw::{
    RawAddress, RawAffinityConfig, RawClientIp, RawConditions, RawEndpoint, RawHint, RawHints,
    RawIngress, RawLoadBalancer, RawServicePort, RawSlicePort, RawTaint, Spec, Status,
};
use super::service::Service;
use super::slice::EndpointSlice;
use crate::error::InputError;

impl From<ObjectMeta> for Metadata {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            name: meta.name,
            namespace: meta.namespace,
            annotations: meta.annotations,
            labels: meta.labels,
            deletion_timestamp: meta.deletion_timestamp.map(|time| time.0.to_string()),
            creation_timestamp: meta.creation_timestamp.map(|time| time.0.to_string()),
            resource_version: meta.resource_version,
        }
    }
}

/// # Errors
/// [`InputError`] names the field with an impossible value.
///
/// ```
/// use ipvs_model::input::Service;
/// use k8s_openapi::api::core::v1 as core;
///
/// let object: core::Service = serde_json::from_str(r#"{
///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
///     "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
/// }"#).unwrap();
/// assert_eq!(Service::try_from(object).unwrap().name.to_string(), "default/web");
/// ```
impl TryFrom<core::Service> for Service {
    type Error = InputError;

    fn try_from(object: core::Service) -> Result<Self, InputError> {
        let spec = object.spec.map(Spec::from).unwrap_or_default();
        let load_balancer = object.status.and_then(|status| status.load_balancer);
        let status = Status {
            load_balancer: load_balancer.map(RawLoadBalancer::from),
            ..Status::default()
        };
        Self::from_manifest(&object.metadata.into(), &spec, &status)
    }
}

/// # Errors
/// [`InputError`] names the field with an impossible value.
impl TryFrom<discovery::EndpointSlice> for EndpointSlice {
    type Error = InputError;

    fn try_from(object: discovery::EndpointSlice) -> Result<Self, InputError> {
        let ports = object.ports.into_iter().flatten().map(RawSlicePort::from);
        #[allow(
            clippy::useless_conversion,
            reason = "optional or not, by version of Kubernetes"
        )]
        let endpoints: Option<Vec<discovery::Endpoint>> = object.endpoints.into();
        let endpoints = endpoints.into_iter().flatten().map(RawEndpoint::from);
        Self::from_manifest(
            &object.metadata.into(),
            Some(&object.address_type),
            ports.collect(),
            endpoints.collect(),
        )
    }
}

/// # Errors
/// [`InputError`] names the field with an impossible value.
impl TryFrom<core::Node> for Node {
    type Error = InputError;

    fn try_from(object: core::Node) -> Result<Self, InputError> {
        let spec = object.spec.unwrap_or_default();
        let spec = Spec {
            pod_cidr: spec.pod_cidr,
            pod_cidrs: spec.pod_cidrs,
            taints: spec.taints.map(|taints| {
                let raw = taints.into_iter().map(|taint| RawTaint { key: taint.key });
                raw.collect()
            }),
            ..Spec::default()
        };
        let addresses = object.status.and_then(|status| status.addresses);
        let addresses = addresses.map(|addresses| {
            let raw = addresses.into_iter().map(|address| RawAddress {
                address_type: address.type_,
                address: address.address,
            });
            raw.collect()
        });
        let status = Status {
            addresses,
            ..Status::default()
        };
        Self::from_manifest(&object.metadata.into(), &spec, status)
    }
}

impl From<core::ServiceSpec> for Spec {
    fn from(spec: core::ServiceSpec) -> Self {
        let affinity = spec.session_affinity_config.map(|config| {
            let client_ip = config.client_ip.map(|client_ip| RawClientIp {
                timeout_seconds: client_ip.timeout_seconds.map(i64::from),
            });
            RawAffinityConfig { client_ip }
        });
        Self {
            service_type: spec.type_,
            cluster_ip: spec.cluster_ip,
            cluster_ips: spec.cluster_ips,
            ports: spec.ports.map(|ports| {
                let raw = ports.into_iter().map(|port| RawServicePort {
                    name: port.name,
                    protocol: port.protocol,
                    port: port.port.into(),
                    node_port: port.node_port.map(i64::from),
                });
                raw.collect()
            }),
            external_ips: spec.external_ips,
            external_traffic_policy: spec.external_traffic_policy,
            internal_traffic_policy: spec.internal_traffic_policy,
            load_balancer_source_ranges: spec.load_balancer_source_ranges,
            load_balancer_class: spec.load_balancer_class.map(Into::into),
            health_check_node_port: spec.health_check_node_port.map(i64::from),
            session_affinity: spec.session_affinity,
            session_affinity_config: affinity,
            ..Self::default()
        }
    }
}

impl From<core::LoadBalancerStatus> for RawLoadBalancer {
    fn from(status: core::LoadBalancerStatus) -> Self {
        let ingress = status.ingress.map(|ingress| {
            let raw = ingress.into_iter().map(|ingress| RawIngress {
                ip: ingress.ip,
                ip_mode: ingress.ip_mode,
            });
            raw.collect()
        });
        Self { ingress }
    }
}

impl From<discovery::EndpointPort> for RawSlicePort {
    fn from(port: discovery::EndpointPort) -> Self {
        Self {
            name: port.name,
            protocol: port.protocol,
            port: port.port.map(i64::from),
        }
    }
}

impl From<discovery::Endpoint> for RawEndpoint {
    fn from(endpoint: discovery::Endpoint) -> Self {
        let hint = |name: String| RawHint { name: name.into() };
        let hints = endpoint.hints.map(|hints| {
            let zones = hints.for_zones.into_iter().flatten();
            let nodes = hints.for_nodes.into_iter().flatten();
            RawHints {
                for_zones: zones.map(|zone| hint(zone.name)).collect(),
                for_nodes: nodes.map(|node| hint(node.name)).collect(),
            }
        });
        Self {
            addresses: endpoint.addresses,
            conditions: endpoint.conditions.map(|conditions| RawConditions {
                ready: conditions.ready,
                serving: conditions.serving,
                terminating: conditions.terminating,
            }),
            node_name: endpoint.node_name.map(Into::into),
            hints,
        }
    }
}
