//! Where there is no memory for the stack of a thread.

use std::process::Command;

use ipvs_netlink::{Ipvs, NetworkNamespace};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CHILD: &str = "NO_THREADS_CHILD";

/// A limit is the whole process's, so that this test runs itself again as another one.
#[test]
fn a_namespace_without_a_thread_is_an_error() {
    if std::env::var_os(CHILD).is_none() {
        let test = "a_namespace_without_a_thread_is_an_error";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, "1");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        return;
    }
    let namespace = NetworkNamespace::from_path("/proc/self/ns/net").unwrap();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // Less is left than a stack needs, enough for everything else.
    let current = Some(pages * rustix::param::page_size() as u64 + (1 << 20));
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
    let error = Ipvs::open_in(&namespace).unwrap_err().to_string();
    let wanted = "there can be no thread for the network namespace: ";
    assert!(error.contains(wanted), "{error}");
    std::process::exit(7);
}
