//! SIGTERM while the proxier waits for something that does not come.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipvs_test_support::{
    NetNs, RunningProxier, command, eventually, example, find_program, workspace,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::shop::shop;

const PATIENCE: Duration = Duration::from_secs(90);
const NOWHERE: [&str; 2] = ["--healthz-bind-address=", "--metrics-bind-address="];

/// It has said so once it hangs.
fn stops_while_iptables_hangs(namespace: &NetNs, program: &str, once: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let hangs = folder.path().join("hangs");
    for name in ["iptables", "ip6tables"] {
        for action in ["save", "restore"] {
            let name = format!("{name}-{action}");
            let script = if name == program {
                format!("#!/bin/sh\n: > {}\nexec /bin/sleep 100\n", hangs.display())
            } else {
                format!("#!/bin/sh\nexec {} \"$@\"\n", find_program(&name).display())
            };
            let path = folder.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let mut arguments = vec![shop()];
    arguments.extend(NOWHERE.iter().chain(once).map(|flag| (*flag).to_owned()));
    let mut proxier = command(&arguments);
    proxier.env("PATH", folder.path());
    let log = folder.path().join("log");
    let mut proxier = RunningProxier::start_command(namespace, proxier, &log).unwrap();
    let waiting = eventually(PATIENCE, || {
        ensure!(hangs.exists(), "{program} is not called");
        Ok(())
    });
    let said = || fs::read_to_string(&log).unwrap_or_default();
    waiting.unwrap_or_else(|error| panic!("{error}: {:?}: {}", proxier.ended(), said()));
    let status = proxier.stop().unwrap();
    let wanted = i32::from(!once.is_empty());
    assert_eq!(status.code(), Some(wanted), "{}", said());
}

/// Programs that know nothing of SIGHUP die of it.
#[test]
fn a_hangup_has_the_balancers_file_read_again() {
    let namespace = NetNs::new("ps-hangup").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("lb.toml"), folder.path().join("log"));
    fs::copy(workspace().join("examples/static_lb/lb.toml"), &file).unwrap();
    let mut balancer = Command::new(example("static_lb"));
    balancer.arg(&file);
    let balancer = RunningProxier::start_command(&namespace, balancer, &log).unwrap();
    let said = |words: &str| {
        let found = eventually(PATIENCE, || {
            let log = fs::read_to_string(&log)?;
            ensure!(log.contains(words), "not said: {words}: {log}");
            Ok(())
        });
        found.unwrap();
    };
    said("synced");
    // It says so again, though nothing has changed since.
    fs::write(&file, "wrong").unwrap();
    said("stays in force");
    File::create(&log).unwrap();
    let pid = Pid::from_raw(i32::try_from(balancer.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    said("stays in force");
    // It is asked for several times a second.
    fs::remove_file(&file).unwrap();
    said("No such file");
    std::thread::sleep(Duration::from_secs(1));
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("No such file").count(), 1, "once: {text}");
    assert_eq!(balancer.stop().unwrap().code(), Some(0));
}

#[test]
fn a_hanging_iptables_keeps_it_from_nothing() {
    let namespace = NetNs::new("ps-hangs").unwrap();
    for program in ["iptables-restore", "iptables-save"] {
        for once in [&[][..], &["--once"]] {
            stops_while_iptables_hangs(&namespace, program, once);
        }
    }
}

/// Takes connections, and says so, but never answers.
fn silent_server(namespace: &NetNs) -> (String, Receiver<()>) {
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, connected) = channel();
    namespace.serve(listener, move |listener| {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            open.push(connection);
            let _ = sender.send(());
        }
    });
    (format!("--master=http://{address}"), connected)
}

#[test]
fn a_server_that_never_answers_keeps_it_from_nothing() {
    let namespace = NetNs::new("ps-silent").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for more in ["--v=0", "--once", "--dry-run"] {
        let (master, connected) = silent_server(&namespace);
        let arguments = [&master, NOWHERE[0], NOWHERE[1], more];
        let proxier = RunningProxier::start(&namespace, &arguments, &log).unwrap();
        let asked: Result<()> = connected.recv_timeout(PATIENCE).map_err(Into::into);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        asked.unwrap_or_else(|error| panic!("{more}: {error}: {}", said()));
        // What was to be done once is not done.
        let status = proxier.stop().unwrap();
        let wanted = i32::from(!more.starts_with("--v"));
        assert_eq!(status.code(), Some(wanted), "{more}: {}", said());
    }
}
