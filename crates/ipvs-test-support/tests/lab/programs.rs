//! An iptables that fails, hangs, or is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use ipvs_test_support::{Cluster, RunningProxier, ask_tcp, command, eventually, find_program};

use crate::changes::{POD_A, POD_B, web};
use crate::metrics::get;
use crate::packets::{CIDR, addr};

/// One that hangs is given half a minute, and a change of the rules of both families waits for two of them.
const PATIENCE: Duration = Duration::from_secs(180);

/// Programs that do what the file `mode` says: nothing but fail, or hang, or what they should.
fn make_programs(folder: &Path) -> Result<()> {
    for name in ["iptables", "ip6tables"] {
        for action in ["save", "restore"] {
            let script = format!(
                "#!/bin/sh\nread mode < {}/mode\ncase $mode in\n\
                 fail) echo 'no room left' >&2; exit 4;;\nhang) exec /bin/sleep 100;;\nesac\n\
                 exec {} \"$@\"\n",
                folder.display(),
                find_program(&format!("{name}-{action}")).display()
            );
            let file = folder.join(format!("{name}-{action}"));
            fs::write(&file, script)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Protocols of the node ports: each fills a set of its own, which new rules name.
const PROTOCOLS: [&str; 3] = ["TCP", "SCTP", "UDP"];

fn by_node_port(number: usize) -> String {
    let named = web(POD_A)
        .replace("name: web", &format!("name: web{number}"))
        .replace("10.96.0.10", &format!("10.96.1.{number}"));
    named
        .replace("  clusterIP:", "  type: NodePort\n  clusterIP:")
        .replace(
            "targetPort: 8080",
            &format!("targetPort: 8080, nodePort: {}", 30_000 + number),
        )
        .replace("protocol: TCP", &format!("protocol: {}", PROTOCOLS[number]))
}

/// Whether a change waits for too long.
fn is_well(cluster: &Cluster) -> Result<bool> {
    Ok(get(&cluster.node, 10256, "/livez")?.starts_with("HTTP/1.1 200"))
}

/// What needs no new rules goes on; health says that something waits; everything is there soon after the end.
#[test]
fn row_115_and_whatever_iptables_does_the_rest_goes_on() {
    let cluster = Cluster::new("pk-programs").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (objects, programs) = (
        folder.path().join("objects"),
        folder.path().join("programs"),
    );
    fs::create_dir(&objects).unwrap();
    fs::create_dir(&programs).unwrap();
    let mode = |mode: &str| fs::write(programs.join("mode"), format!("{mode}\n")).unwrap();
    let write = |name: &str, text: &str| fs::write(objects.join(name), text).unwrap();
    mode("work");
    make_programs(&programs).unwrap();
    write("web.yaml", &web(POD_A));
    let log = folder.path().join("log");
    let manifests = format!("--manifests={}", objects.display());
    let mut arguments = vec![manifests.as_str(), CIDR, "--ipvs-min-sync-period=0s"];
    arguments.extend([
        "--ipvs-sync-period=4s",
        "--healthz-bind-address=127.0.0.1:10256",
    ]);
    let mut proxier = command(&arguments);
    proxier.env("PATH", &programs);
    let _proxier = RunningProxier::start_command(&cluster.node, proxier, &log).unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let answers = |server: &str, pod: &str| {
        let answered = eventually(PATIENCE, || {
            let answer = ask_tcp(&cluster.client, addr(server))?;
            ensure!(answer.pod == pod, "{answer:?}");
            Ok(())
        });
        answered.unwrap_or_else(|error| panic!("{server}: {error:#}: {}", said()));
    };
    answers("10.96.0.10:80", "pod-a");
    for (number, (fault, words)) in [
        ("fail", "exit status: 4: no room left"),
        ("hang", "hangs: after"),
        ("absent", "No such file or directory"),
    ]
    .into_iter()
    .enumerate()
    {
        mode(fault);
        if fault == "absent" {
            fs::rename(&programs, folder.path().join("away")).unwrap();
        }
        write(&format!("{number}.yaml"), &by_node_port(number));
        let (pod, name) = if number % 2 == 0 {
            (POD_B, "pod-b")
        } else {
            (POD_A, "pod-a")
        };
        write("web.yaml", &web(pod));
        answers("10.96.0.10:80", name);
        let told = eventually(PATIENCE, || {
            ensure!(said().contains(words), "not said: {words}");
            ensure!(!is_well(&cluster)?, "healthy");
            Ok(())
        });
        told.unwrap_or_else(|error| panic!("{fault}: {error:#}: {}", said()));
        if fault == "absent" {
            fs::rename(folder.path().join("away"), &programs).unwrap();
        }
        mode("work");
        let node_port = format!("192.168.50.10:{}", 30_000 + number);
        if PROTOCOLS[number] == "TCP" {
            answers(&node_port, "pod-a");
        }
        let well = eventually(PATIENCE, || {
            let table = cluster.node.output("ipvsadm", &["-S", "-n"])?;
            ensure!(table.contains(&node_port), "{table}");
            ensure!(is_well(&cluster)?, "ill");
            Ok(())
        });
        well.unwrap_or_else(|error| panic!("after {fault}: {error:#}: {}", said()));
    }
}
