//! Rows of the acceptance table that need no kernel: sysctls at the start, on trees that look like `/`.

use std::fs;

use ipvs_probe::{Facts, Needs, NoPrograms, Root, Step, Sysctls, mend, steps_at_start};

/// A tree with these sysctls.
fn tree(sysctls: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let tree = tempfile::tempdir().unwrap();
    for (name, value) in sysctls {
        let file = tree.path().join("proc/sys").join(name.replace('.', "/"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{value}\n")).unwrap();
    }
    let root = Root::below(tree.path());
    (tree, root)
}

/// The sysctls that are set at the start of a kernel where none is right.
fn names(release: &str, strict_arp: bool) -> Vec<&'static str> {
    let (_tree, root) = tree(&[("kernel.osrelease", release)]);
    let needs = Needs {
        strict_arp,
        ..Needs::default()
    };
    let steps = steps_at_start(&Facts::gather(&root, &mut NoPrograms), &needs);
    steps
        .into_iter()
        .map(|(step, _)| match step {
            Step::Set { name, .. } => name,
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn row_008_kernel_5_4_gets_conn_reuse_mode() {
    assert!(names("5.4.0", false).contains(&"net.ipv4.vs.conn_reuse_mode"));
}

#[test]
fn row_009_kernel_5_15_is_left_alone() {
    assert!(!names("5.15.0-91-generic", false).contains(&"net.ipv4.vs.conn_reuse_mode"));
}

#[test]
fn row_010_kernel_4_0_has_no_conn_reuse_mode() {
    assert!(!names("4.0.0", false).contains(&"net.ipv4.vs.conn_reuse_mode"));
}

#[test]
fn row_011_all_that_kube_proxy_sets_in_its_order() {
    assert_eq!(
        names("5.4.0", true),
        [
            "net.ipv4.vs.conntrack",
            "net.ipv4.vs.conn_reuse_mode",
            "net.ipv4.vs.expire_nodest_conn",
            "net.ipv4.vs.expire_quiescent_template",
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.arp_ignore",
            "net.ipv4.conf.all.arp_announce",
        ]
    );
}

#[test]
fn row_012_strict_arp_only_when_asked() {
    assert!(names("6.1.0", true).contains(&"net.ipv4.conf.all.arp_ignore"));
    assert!(
        !names("6.1.0", false)
            .iter()
            .any(|name| name.contains("arp"))
    );
}

#[test]
fn row_013_an_equal_value_is_not_written() {
    let (_tree, root) = tree(&[("kernel.osrelease", "6.1.0"), ("net.ipv4.ip_forward", "1")]);
    let steps = steps_at_start(&Facts::gather(&root, &mut NoPrograms), &Needs::default());
    assert!(
        !steps
            .iter()
            .any(|(step, _)| step.to_string().contains("ip_forward"))
    );
    let sysctls = Sysctls::below(root.path("/proc/sys"));
    assert!(!sysctls.ensure("net.ipv4.ip_forward", "1").unwrap());
    let raw = fs::read_to_string(root.path("/proc/sys/net/ipv4/ip_forward")).unwrap();
    assert_eq!(raw, "1\n", "a write would have left no newline");
}

#[test]
fn row_014_a_failure_names_the_sysctl() {
    let (_tree, root) = tree(&[("kernel.osrelease", "6.1.0")]);
    let facts = Facts::gather(&root, &mut NoPrograms);
    let (step, _) = &steps_at_start(&facts, &Needs::default())[0];
    let error = mend(&root, &mut NoPrograms, step).unwrap_err();
    assert!(
        error.to_string().contains("net.ipv4.vs.conntrack"),
        "{error}"
    );
}
