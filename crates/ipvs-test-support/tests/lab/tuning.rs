//! What is beyond kube-proxy, in the real kernel.

use ipvs_test_support::{NetNs, run_kube_proxy};

const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: lc, annotations: {ipvs-proxier/scheduler: lc, ipvs-proxier/one-packet: "true"}}
spec:
  clusterIP: 10.96.7.1
  ports: [{name: t, port: 80}, {name: u, port: 80, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: missing, annotations: {ipvs-proxier/scheduler: nosuch}}
spec: {clusterIP: 10.96.7.2, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: direct, annotations: {ipvs-proxier/forwarding-method: direct, ipvs-proxier/weights: "n2=3"}}
spec: {clusterIP: 10.96.7.3, externalIPs: [203.0.113.9, 192.168.50.1], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: direct-1, labels: {kubernetes.io/service-name: direct}}
ports: [{port: 80}]
endpoints: [{addresses: [192.168.50.20], nodeName: n2}]
"#;

#[test]
fn annotations_are_in_the_kernel_and_problems_in_the_log() {
    let namespace = NetNs::new("tuned").unwrap();
    namespace
        .ip(
            "link add node0 type dummy\nlink set node0 up\naddr add 192.168.50.10/24 dev node0\n\
             route add default via 192.168.50.1\n",
        )
        .unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), OBJECTS).unwrap();
    let manifests = format!("--manifests={}", file.path().display());
    let arguments = [manifests.as_str(), "--once", "--never-bind-gateways"];
    let output = run_kube_proxy(&namespace, &arguments).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    for line in [
        "-A -t 10.96.7.1:80 -s lc\n",
        "-A -u 10.96.7.1:80 -s lc -o\n",
        "-A -t 10.96.7.2:80 -s rr\n",
        "-a -t 10.96.7.3:80 -r 192.168.50.20:80 -m -w 3\n",
        "-a -t 203.0.113.9:80 -r 192.168.50.20:80 -g -w 3\n",
    ] {
        assert!(table.contains(line), "{line} in\n{table}");
    }
    assert!(!table.contains("192.168.50.1:80"), "{table}");
    assert!(log.contains("modprobe ip_vs_nosuch"), "{log}");
    let gateway = "Service default/direct: 192.168.50.1 is a gateway of this node";
    assert!(log.contains(gateway), "{log}");
    let sets = namespace.output("ipset", &["save"]).unwrap();
    assert!(sets.contains("add KUBE-EXTERNAL-IP-LOCAL 203.0.113.9,tcp:80"));

    let explain = [manifests.as_str(), "--explain", "203.0.113.9:80/TCP"];
    let output = run_kube_proxy(&namespace, &explain).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("of Service default/direct port 80/TCP, spec.externalIPs"),
        "{text}"
    );
    assert!(
        text.contains("real server 192.168.50.20:80 weight 3"),
        "{text}"
    );
}
