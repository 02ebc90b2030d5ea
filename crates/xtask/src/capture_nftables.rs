//! Records the netlink messages of `nft` runs, for the codec's tests. User-mode Linux has no nf_tables for IP, so this is
//! recorded in a fresh user and network namespace of the kernel that runs; in a guest, `cargo xtask lab -- …` runs it there.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::capture::hex;
use crate::workspace::root;

#[derive(Debug, Clone, Args)]
pub(crate) struct CaptureNftablesOptions {
    /// Where the messages are written.
    #[arg(
        long,
        default_value = "crates/ipvs-netfilter/tests/vectors/nftables.txt"
    )]
    output: PathBuf,

    /// Records in the namespaces of this process.
    #[arg(long)]
    inside: bool,
}

/// What is recorded, one run of `nft` each, and whether it succeeds. `FILTER` is the file of rules.
const RUNS: &[(&str, bool)] = &[
    ("list ruleset", true),
    ("-f FILTER", true),
    ("-a list ruleset", true),
    ("add table ip extras", true),
    ("create table ip extras", false),
    (
        "add element ip kube-proxy-ipvs vips { 10.96.0.10, 10.96.0.11 comment \"dns\" }",
        true,
    ),
    (
        "add element ip kube-proxy-ipvs cluster-ips { 10.96.0.10 . tcp . 80, 10.96.0.11 . udp . 53 }",
        true,
    ),
    (
        "add element ip kube-proxy-ipvs source-ranges { 203.0.113.107 . tcp . 80 . 10.0.0.0/8 }",
        true,
    ),
    (
        "add element ip kube-proxy-ipvs node-ports { sctp . 30080 }",
        true,
    ),
    (
        "add element ip6 kube-proxy-ipvs hairpins { 2001:db8::1 . tcp . 443 . fd00::7 }",
        true,
    ),
    ("list set ip kube-proxy-ipvs source-ranges", true),
    ("list set ip6 kube-proxy-ipvs hairpins", true),
    (
        "delete element ip kube-proxy-ipvs vips { 10.96.0.11 }",
        true,
    ),
    (
        "delete element ip kube-proxy-ipvs vips { 10.96.0.99 }",
        false,
    ),
    (
        "add element ip kube-proxy-ipvs nowhere { 10.96.0.99 }",
        false,
    ),
    ("flush set ip kube-proxy-ipvs cluster-ips", true),
    ("delete set ip kube-proxy-ipvs vips", false),
    ("add rule ip extras end accept comment \"last\"", true),
    ("insert rule ip extras end drop", true),
    ("flush chain ip extras end", true),
    ("delete chain ip extras end", false),
    ("add chain ip extras other", true),
    ("delete chain ip extras other", true),
    ("flush table ip extras", true),
    ("delete table ip extras", true),
    ("delete table ip extras", false),
];

const HEAD: &str = "\
# Netlink messages between nft and nf_tables, recorded with strace by `cargo xtask capture-nftables`.
# Normalised: sequence number 1, port id 0, no generation in the headers, no number of a process. q: to the kernel, r: from it.
# id | what was run | bytes
";

/// `NLMSG_ERROR`, the messages of a batch, and those of nf_tables.
fn is_recorded(kind: u16) -> bool {
    matches!(kind, 2 | 0x10 | 0x11) || kind >> 8 == 10
}

/// Enters fresh namespaces and records there.
pub(crate) fn run(options: &CaptureNftablesOptions) -> Result<u8> {
    let output = root().join(&options.output);
    if options.inside {
        let text = record()?;
        fs::write(&output, text).with_context(|| format!("write {}", output.display()))?;
        println!("wrote {}", output.display());
        return Ok(0);
    }
    let itself = std::env::current_exe().context("where is this program?")?;
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(itself)
        .args(["capture-nftables", "--inside", "--output"])
        .arg(&output)
        .status()
        .context("cannot run unshare, of util-linux")?;
    Ok(if status.success() { 0 } else { 1 })
}

fn record() -> Result<String> {
    let mut text = String::from(HEAD);
    // Each run asks for the same things first.
    let mut seen = HashSet::new();
    for (run, succeeds) in RUNS {
        let (success, trace) = nft(run)?;
        ensure!(
            success == *succeeds,
            "nft {run}: success is {success}\n{trace}"
        );
        for message in messages(&trace)? {
            let direction = if message[6] & 1 != 0 { 'q' } else { 'r' };
            let digits = hex(&message);
            if seen.insert(message) {
                writeln!(text, "{direction}{} | {run} | {digits}", seen.len())?;
            }
        }
    }
    Ok(text)
}

/// Runs `nft`. Whether it succeeded, and what strace wrote of what it sent and received.
fn nft(run: &str) -> Result<(bool, String)> {
    let filter = root().join("crates/ipvs-netfilter/tests/vectors/filter.nft");
    let words: Vec<_> = match run {
        "-f FILTER" => vec!["-f".into(), filter.into_os_string()],
        _ => run.split(' ').map(Into::into).collect(),
    };
    let output = Command::new("strace")
        .args(["-e", "trace=sendto,sendmsg,recvmsg", "-s", "0"])
        .args(["-e", "read=all", "-e", "write=all", "nft"])
        .args(words)
        .stdout(Stdio::null())
        .output()
        .context("cannot run strace and nft, of the packages of these names")?;
    let trace = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), trace))
}

/// The messages in what strace writes: lines of hexadecimal dumps below each call.
fn messages(trace: &str) -> Result<Vec<Vec<u8>>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for line in trace.lines() {
        let Some((offset, rest)) = line
            .strip_prefix(" | ")
            .and_then(|line| line.split_once("  "))
        else {
            continue;
        };
        if offset.bytes().all(|digit| digit == b'0') {
            datagrams.push(Vec::new());
        }
        let datagram = datagrams
            .last_mut()
            .context("a dump begins in its middle")?;
        // Sixteen bytes as digits take 49 columns, and then comes the text.
        for digits in rest.get(..49).context("a short line")?.split_whitespace() {
            datagram.push(u8::from_str_radix(digits, 16).context("no digits")?);
        }
    }
    let mut messages = Vec::new();
    for datagram in &datagrams {
        let mut rest = &datagram[..];
        while let Some(length) = rest.first_chunk() {
            let length = usize::try_from(u32::from_ne_bytes(*length))?;
            let message = rest.get(..length).filter(|message| message.len() >= 20);
            let message = message.context("a message that is cut off")?;
            if is_recorded(u16::from_ne_bytes([message[4], message[5]])) {
                messages.push(normal(message.to_vec()));
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(messages)
}

/// Without what differs from run to run.
fn normal(mut message: Vec<u8>) -> Vec<u8> {
    message[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    message[12..16].fill(0);
    // Of nf_tables: the last two bytes of the netfilter header are the generation.
    if message[5] == 10 {
        message[18..20].fill(0);
    }
    // A generation names the process that made it: its number is the value of the second attribute.
    if message[4..6] == [15, 10]
        && let Some(process) = message.get_mut(32..36)
    {
        process.fill(0);
    }
    message
}
