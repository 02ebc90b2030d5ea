//! Output that nobody takes: closed pipes, full disks, a log that nobody reads. And text that would forge a line of it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, PipeReader, PipeWriter, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipvs_test_support::{NetNs, command, eventually, example, run_kube_proxy, workspace};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::changes::{POD_A, POD_B, web};

const PATIENCE: Duration = Duration::from_secs(90);

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// Every program that prints, with what it prints.
fn printing() -> Vec<Command> {
    let shop = format!(
        "--manifests={}",
        workspace().join("examples/manifests").display()
    );
    let balancer = workspace().join("examples/static_lb/lb.toml");
    let balancer = balancer.display().to_string();
    let all: [(&str, &[&str]); 14] = [
        ("kube-proxy", &["--dry-run", "--hostname-override=n", &shop]),
        (
            "kube-proxy",
            &["--dry-run", "--output=json", "--hostname-override=n", &shop],
        ),
        ("kube-proxy", &["--help"]),
        ("kube-proxy", &["--version"]),
        ("ipvsadm", &["-L", "-n"]),
        ("ipvsadm", &["-S", "-n"]),
        ("ipvsadm", &["-h"]),
        ("preflight", &[]),
        ("preflight", &["--explain=ip_forward"]),
        ("preflight", &["--help"]),
        ("list_virtual_servers", &[]),
        ("static_lb", &["--dry-run", &balancer]),
        ("static_lb", &["--help"]),
        ("watch_connections", &["1"]),
    ];
    let commands = all.into_iter().map(|(name, arguments)| {
        let mut command = Command::new(example(name));
        command.args(arguments);
        command
    });
    commands.collect()
}

fn run(namespace: &NetNs, mut command: Command, stdout: impl Into<Stdio>) -> Output {
    command.stdout(stdout).stderr(Stdio::piped());
    namespace.run(|| command.output()).unwrap().unwrap()
}

fn with_a_virtual_server(name: &str) -> NetNs {
    let namespace = NetNs::new(name).unwrap();
    let server = ["-A", "-t", "10.96.0.10:80", "-s", "rr"];
    namespace.output("ipvsadm", &server).unwrap();
    namespace
}

#[test]
fn a_reader_that_is_gone_ends_programs_quietly() {
    let namespace = with_a_virtual_server("po-closed");
    for command in printing() {
        let words = format!("{command:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(&namespace, command, writer);
        let by = output.status.signal();
        assert_eq!(by, Some(Signal::PIPE.as_raw()), "{words}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("panicked") && !said.contains("pipe"),
            "{words}: {said}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error_of_every_program() {
    let namespace = with_a_virtual_server("po-full");
    for command in printing() {
        let words = format!("{command:?}");
        let output = run(&namespace, command, full_disk());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|code| code > 0),
            "{words}: {output:?}"
        );
        let times = said.matches("No space left on device").count();
        assert_eq!(times, 1, "{words}: {said}");
        assert!(!said.contains("panicked"), "{words}: {said}");
    }
}

/// A pipe that is full from the beginning.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let error = loop {
        if let Err(error) = writer.write_all(&[b'.'; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// It syncs, follows its manifests, and ends when it is told to.
fn works_without_a_log(name: &str, stderr: impl Into<Stdio>) {
    let namespace = NetNs::new(name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    fs::write(&file, web(POD_A)).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let nowhere = ["--healthz-bind-address=", "--metrics-bind-address="];
    let mut proxier = command(&[&manifests, nowhere[0], nowhere[1], "--v=6"]);
    proxier
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.into());
    let mut proxier = namespace.run(|| proxier.spawn()).unwrap().unwrap();
    let serves = |address: &str| -> Result<()> {
        let table = namespace.output("ipvsadm", &["-S", "-n"])?;
        ensure!(table.contains(address), "{table}");
        Ok(())
    };
    eventually(PATIENCE, || serves("10.244.1.11")).unwrap();
    fs::write(&file, web(POD_B)).unwrap();
    eventually(PATIENCE, || serves("10.244.1.12")).unwrap();
    assert_eq!(proxier.try_wait().unwrap(), None);
    kill_process(Pid::from_child(&proxier), Signal::TERM).unwrap();
    assert_eq!(proxier.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    works_without_a_log("po-nolog", full_disk());
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (_reader, writer) = full_pipe();
    works_without_a_log("po-unread", writer);
}

#[test]
fn an_annotation_forges_no_line_of_the_log() {
    let namespace = NetNs::new("po-forged").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let annotation =
        "metadata:\n  annotations: {ipvs-proxier/weights: \"x\\n2026-01-01 ERROR gone\\u202E\"}\n";
    let text = web(POD_A).replacen("metadata:\n", annotation, 1);
    assert!(text.contains(annotation), "{text}");
    fs::write(folder.path().join("web.yaml"), text).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    for format in ["text", "json"] {
        let format = format!("--logging-format={format}");
        let output = run_kube_proxy(&namespace, &[&manifests, "--once", &format]).unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        assert!(log.contains("ERROR gone"), "{log}");
        let unseen = |c: char| c != '\n' && ipvs_model::Escaped::applies_to(c);
        assert!(!log.contains(unseen), "{log:?}");
        assert!(
            !log.lines().any(|line| line.starts_with("2026-01-01")),
            "{log}"
        );
    }
}
