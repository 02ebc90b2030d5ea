//! A node that has just booted: nothing is loaded, and the first thing that it does is to proxy. `cargo xtask test` gives
//! these tests a guest of their own.

use ipvs_test_support::{Need, is_skipped_without};

use crate::recorded::recorded_namespace;
use crate::shop::{run, shop};

/// Some twenty modules are loaded meanwhile, which takes many seconds.
#[test]
fn the_first_sync_on_a_cold_kernel_is_a_clean_one() {
    if is_skipped_without(Need::ColdKernel) {
        return;
    }
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    for name in ["ip_vs", "ip_set", "xt_set"] {
        assert!(!modules.contains(&format!("{name} ")), "{modules}");
    }
    let namespace = recorded_namespace("cold");
    let (ok, log) = run(&namespace, &[&shop(), "--once"]);
    assert!(ok, "{log}");
    assert_eq!(log.matches(" failures=0 ").count(), 1, "{log}");
    for level in [" WARN ", " ERROR "] {
        assert!(!log.contains(level), "{log}");
    }
}
