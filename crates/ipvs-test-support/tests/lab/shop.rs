//! The reference proxier, run to its end with the manifests of the examples.

use ipvs_test_support::{NetNs, run_kube_proxy, workspace};

/// Whether it succeeded, and what it logged.
pub(crate) fn run(namespace: &NetNs, arguments: &[&str]) -> (bool, String) {
    let output = run_kube_proxy(namespace, arguments).unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// What it logged; it must succeed.
pub(crate) fn sync(namespace: &NetNs, arguments: &[&str]) -> String {
    let (succeeded, log) = run(namespace, arguments);
    assert!(succeeded, "{log}");
    log
}

pub(crate) fn shop() -> String {
    format!(
        "--manifests={}",
        workspace().join("examples/manifests").display()
    )
}
