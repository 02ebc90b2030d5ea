//! What needs a kernel whose IPVS nobody uses. Tests run in the order of their names: this one is the first, as namespaces
//! of others live on for a while.

use std::time::Duration;

use ipvs_codec::{Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netlink::{Error, Ipvs, IpvsReader, Slice};
use ipvs_test_support::{Need, NetNs, eventually, example, is_skipped_without, run_kube_proxy};

/// Unloads IPVS with all its schedulers.
fn unload() {
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    let names = modules
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let (core, parts): (Vec<&str>, Vec<&str>) = names
        .filter(|name| name.starts_with("ip_vs") || name.starts_with("xt_ipvs"))
        .partition(|name| *name == "ip_vs");
    let gone = || {
        let output = std::process::Command::new("rmmod")
            .args(parts.iter().chain(&core))
            .output()?;
        let modules = std::fs::read_to_string("/proc/modules")?;
        // What was unloaded the first time is an error the second time.
        anyhow::ensure!(
            !modules.contains("ip_vs"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    eventually(Duration::from_secs(60), gone).unwrap();
}

#[test]
fn a_module_that_was_loaded_again_has_another_number_and_nothing_is_lost() {
    if is_skipped_without(Need::UnusedModules) {
        return;
    }
    let mut ipvs = Ipvs::open().unwrap();
    let before = ipvs.family();
    unload();
    let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 1].into(), 80);
    let other = ServiceKey::endpoint(Protocol::UDP, [10, 96, 0, 1].into(), 80);
    let service = Service::new(key, Scheduler::RR);
    let outcomes = ipvs.batch(&[Request::NewService(&service), Request::DelService(&other)]);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(outcomes[1].as_ref().is_err_and(Error::is_not_found));
    assert_ne!(ipvs.family(), before);
    assert_eq!(ipvs.services().unwrap().len(), 1);
    assert!(ipvs.batch(&[Request::Flush])[0].is_ok());

    let mut reader = IpvsReader::open().unwrap();
    unload();
    assert!(reader.step(1).is_err(), "its number is old");
    let mut slices = Vec::new();
    while slices.last() != Some(&Slice::Complete) {
        slices.push(reader.step(1).unwrap());
    }
    assert_eq!(slices, [Slice::Listing, Slice::Complete]);
}

/// `/`, with a `/etc` of its own and a list of modules that lacks one.
fn root_without(module: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["proc", "sys", "usr"] {
        std::os::unix::fs::symlink(format!("/{folder}"), root.path().join(folder)).unwrap();
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let (from, to) = (
        std::path::Path::new("/lib/modules").join(release.trim()),
        root.path().join("lib/modules").join(release.trim()),
    );
    std::fs::create_dir_all(&to).unwrap();
    std::os::unix::fs::symlink(from.join("kernel"), to.join("kernel")).unwrap();
    std::fs::copy(from.join("modules.builtin"), to.join("modules.builtin")).unwrap();
    let list = std::fs::read_to_string(from.join("modules.dep")).unwrap();
    let kept: String = list
        .lines()
        .filter(|line| !line.split(':').next().unwrap().contains(module))
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(to.join("modules.dep"), kept).unwrap();
    root
}

/// By `finit_module` and the list of files below a root, then by `modprobe` where the root is `/`.
#[test]
fn preflight_tells_what_is_missing_and_loads_it() {
    if is_skipped_without(Need::UnusedModules) {
        return;
    }
    let namespace = NetNs::new("fk-preflight").unwrap();
    let preflight = |arguments: &[&str]| {
        let output = namespace
            .run(|| {
                let mut command = std::process::Command::new(example("preflight"));
                command.args(arguments).output().unwrap()
            })
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), format!("{text}{problem}"))
    };
    unload();
    let hidden = root_without("ip_vs_rr.ko");
    let below = format!("--root={}", hidden.path().display());
    let (status, text) = preflight(&[&below, "--profile=kube-1.8"]);
    assert_eq!(status, Some(1), "{text}");
    let error = "failed to load kernel modules: [ip_vs ip_vs_rr ip_vs_sh ip_vs_wrr]";
    assert!(text.contains(error), "{text}");
    assert!(text.contains("modules.dep: no ip_vs_rr"), "{text}");

    let whole = root_without("no module of this name");
    let below = format!("--root={}", whole.path().display());
    let (_, text) = preflight(&[&below, "--fix", "--dry-run"]);
    assert!(text.starts_with("load module ip_vs\n"), "{text}");
    let (status, _) = preflight(&[&below]);
    assert_eq!(status, Some(1), "a dry run changes nothing");
    let (status, text) = preflight(&[&below, "--fix"]);
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = preflight(&[]);
    assert_eq!(status, Some(0), "now also with a virtual server: {text}");
    let (_, text) = preflight(&[&below, "--fix"]);
    assert!(
        !text.contains("load module") && !text.contains("write"),
        "{text}"
    );
    let etc = std::fs::read_to_string(whole.path().join("etc/modules-load.d/ipvs.conf")).unwrap();
    assert!(etc.contains("\nip_vs\nip_vs_rr\n"), "{etc}");
}

/// On the machine itself, with its `/etc` covered.
#[test]
fn preflight_loads_by_modprobe_where_it_can() {
    if is_skipped_without(Need::UnusedModules) {
        return;
    }
    let namespace = NetNs::new("fk-modprobe").unwrap();
    unload();
    let script = format!(
        "mount -t tmpfs none /etc/modules-load.d && mount -t tmpfs none /etc/sysctl.d && {} --fix --profile=kube-1.8 && \
         cat /etc/modules-load.d/ipvs.conf /etc/sysctl.d/90-ipvs.conf",
        example("preflight").display()
    );
    let text = namespace
        .output("unshare", &["-m", "sh", "-c", &script])
        .unwrap();
    assert!(text.contains("load module ip_vs_sh\n"), "{text}");
    assert!(text.contains("\nusable with iptables\n"), "{text}");
    assert!(text.contains("\nip_vs_wrr\n"), "{text}");
    assert!(text.contains("net.ipv4.vs.conntrack = 1\n"), "{text}");
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    assert!(modules.contains("ip_vs_wrr "), "{modules}");
}

#[test]
fn row_001_a_node_without_the_scheduler_is_refused_with_what_is_missing() {
    let namespace = NetNs::new("fk-refused").unwrap();
    let arguments = ["--manifests=/nowhere", "--once", "--ipvs-scheduler=nope"];
    let output = run_kube_proxy(&namespace, &arguments).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(log.contains("this node cannot proxy by IPVS"), "{log}");
    assert!(
        log.contains("choose one that this kernel has: rr "),
        "{log}"
    );
    assert!(!log.contains("modprobe ip_vs_nope"), "{log}");
    let virtual_server = log.matches("without its module no virtual server").count();
    assert_eq!(virtual_server, 1, "said once: {log}");
    assert!(!log.contains("virtual servers cannot be made"), "{log}");
}

#[test]
fn row_014_a_sysctl_that_cannot_be_written_is_named() {
    let namespace = NetNs::new("fk-readonly").unwrap();
    let script = format!(
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && {} --init-only 2>&1; true",
        example("kube-proxy").display()
    );
    let problem = namespace
        .output("unshare", &["-m", "sh", "-c", &script])
        .unwrap();
    assert!(
        problem.contains("net.ipv4.vs.conntrack is 0, needs to be 1"),
        "{problem}"
    );
    assert!(
        problem.contains("sysctl -w net.ipv4.vs.conntrack=1"),
        "{problem}"
    );
}

#[test]
fn a_user_namespace_is_told_why_it_gets_no_ipvs() {
    let script = format!("{} || true", example("preflight").display());
    let output = std::process::Command::new("unshare")
        .args(["-Urn", "sh", "-c", &script])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("outside of user namespaces"), "{output:?}");
    assert!(text.ends_with("\nnot usable\n"), "{text}");
}
