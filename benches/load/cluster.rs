//! A generated cluster, as one manifest file.

use std::fmt::Write as _;

/// Services with cluster IPs 10.96.0.0 and up, each with `endpoints` real servers on other nodes.
pub(crate) fn manifest(services: u32, endpoints: u32) -> String {
    let mut text = String::new();
    for service in 0..services {
        let [_, a, b, c] = (service + 1).to_be_bytes();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s{service}\n  namespace: bench\nspec:\n  \
             clusterIP: 10.{}.{b}.{c}\n  ports:\n  - name: http\n    port: 80\n    protocol: TCP\n    targetPort: 8080\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{service}-a\n  \
             namespace: bench\n  labels:\n    kubernetes.io/service-name: s{service}\naddressType: IPv4\nports:\n\
             - name: http\n  port: 8080\n  protocol: TCP\nendpoints:\n",
            96 + a,
        );
        for endpoint in 0..endpoints {
            let [_, x, y, z] = (service * endpoints + endpoint + 1).to_be_bytes();
            let _ = write!(
                text,
                "- addresses:\n  - 10.{}.{y}.{z}\n  conditions:\n    ready: true\n    serving: true\n    \
                 terminating: false\n  nodeName: node-{}\n",
                128 + x,
                endpoint % 50 + 1,
            );
        }
    }
    text
}
