//! Records the netlink messages of `ipvsadm` runs, for the codec's tests.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use crate::lab::{self, LabOptions};
use crate::workspace::root;

#[derive(Debug, Clone, Args)]
pub(crate) struct CaptureOptions {
    /// Where the messages are written.
    #[arg(long, default_value = "crates/ipvs-codec/tests/vectors/ipvsadm.txt")]
    output: PathBuf,

    #[command(flatten)]
    lab: LabOptions,

    /// The part that runs in the lab.
    #[arg(long, hide = true)]
    inside: bool,
}

/// What is recorded, one run each.
const RUNS: &[&str] = &[
    "-A -t 10.0.0.1:80 -s rr",
    "-A -u 10.0.0.1:53 -s wrr -p 300 -M 255.255.255.0",
    "-A --sctp-service 10.0.0.2:7 -s lc",
    "-A -t [2001:db8::1]:443 -s sh -b sh-fallback,sh-port -p 600 -M 64",
    "-A -u [2001:db8::1]:53 -s rr -o",
    "-A -f 16909060 -s mh -b mh-port",
    "-A -f 16909060 -6 -s wlc -p",
    "-A -u 10.0.0.1:5060 -s rr --pe sip -p 60",
    "-A -t 10.0.0.3:0 -s wlc -p 360",
    "-E -t 10.0.0.1:80 -s wlc",
    "-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3",
    "-a -t 10.0.0.1:80 -r 10.1.0.2 -g -w 100 -x 200 -y 100",
    "-a -t 10.0.0.1:80 -r 10.1.0.3 -i",
    "-a -t 10.0.0.1:80 -r 10.1.0.4 -i --tun-type gue --tun-port 6080 --tun-csum",
    "-a -t 10.0.0.1:80 -r 10.1.0.5 -i --tun-type gre",
    "-a -t 10.0.0.1:80 -r [2001:db8::5]:80 -i",
    "-a -t [2001:db8::1]:443 -r [2001:db8::6]:8443 -m",
    "-a -f 16909060 -r 10.1.0.6:0 -g",
    "-e -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 0",
    "-d -t 10.0.0.1:80 -r 10.1.0.2",
    "-L -n",
    "-L -n -f 16909060 -6",
    "-Z -t 10.0.0.1:80",
    "-Z",
    "--set 1000 100 200",
    "-L --timeout",
    "-d -t 10.0.0.1:80 -r [2001:db8::5]:80",
    "-a -t 10.0.0.1:80 -r [2001:db8::5]:80 -i",
    "-d -t 10.0.0.1:80 -r [2001:db8::5]:80",
    "--start-daemon master --mcast-interface sync0 --syncid 5 --mcast-group 239.1.1.1 --mcast-port 9999 --mcast-ttl 2 \
     --sync-maxlen 1400",
    "--start-daemon backup --mcast-interface sync0 --syncid 255",
    "-L --daemon",
    "--stop-daemon master",
    "--stop-daemon backup",
    "-D -t 10.0.0.1:80",
    "-C",
];

const HEAD: &str = "\
# Netlink messages between ipvsadm and IPVS, recorded through nlmon by `cargo xtask capture`.
# Normalised: family id 0x001c, sequence number 1, port id 0. q: to the kernel, r: from it.
# id | what was run | bytes
";

/// `ETH_P_ALL` in network byte order: packets of every protocol.
const EVERYTHING: u32 = 3_u16.to_be() as u32;
/// Generic netlink's controller; families have higher numbers.
const CONTROLLER: u16 = 16;
/// The number of the family in what is written.
const FAMILY: u16 = 0x1c;

/// Boots the lab and records there.
pub(crate) fn run(options: &CaptureOptions) -> Result<u8> {
    let output = root().join(&options.output);
    if options.inside {
        let text = record()?;
        fs::write(&output, text).with_context(|| format!("write {}", output.display()))?;
        return Ok(0);
    }
    lab::require(&options.lab)?;
    let itself = std::env::current_exe().context("where is this program?")?;
    let words = ["capture".into(), "--inside".into(), "--output".into()];
    let command: Vec<_> = [itself.into_os_string()]
        .into_iter()
        .chain(words)
        .chain([output.clone().into_os_string()])
        .collect();
    let status = lab::run(&options.lab, &command)?;
    if status == 0 {
        println!("wrote {}", output.display());
    }
    Ok(status)
}

fn record() -> Result<String> {
    for line in [
        "link set lo up",
        "link add sync0 type dummy",
        "addr add 192.168.70.1/24 dev sync0",
        "link set sync0 up multicast on",
        "link add nlmon0 type nlmon",
        "link set nlmon0 up",
    ] {
        program("ip", line)?;
    }
    // Loads the module, and is not recorded.
    program("ipvsadm", "-L")?;
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Protocol::from_raw(EVERYTHING.try_into()?).into(),
    )
    .context("a packet socket")?;
    let mut text = String::from(HEAD);
    // Each run asks for the same things first.
    let mut seen = HashSet::new();
    for run in RUNS {
        program("ipvsadm", run)?;
        for message in received(&socket)? {
            let message = normal(message);
            let direction = if message[6] & 1 != 0 { 'q' } else { 'r' };
            let hex = hex(&message);
            if seen.insert(message) {
                writeln!(text, "{direction}{} | {run} | {hex}", seen.len())?;
            }
        }
    }
    ensure!(
        seen.len() > RUNS.len(),
        "only {} messages were seen",
        seen.len()
    );
    Ok(text)
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn program(name: &str, words: &str) -> Result<()> {
    let status = Command::new(name)
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} {words}: {status}");
    Ok(())
}

/// The messages of IPVS that have come since the last time.
fn received(socket: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(messages),
            Err(error) => return Err(error).context("read the packet socket"),
        };
        let mut rest = &buffer[..length];
        while let Some(length) = rest.first_chunk() {
            let length = usize::try_from(u32::from_ne_bytes(*length))?;
            let Some(message) = rest.get(..length).filter(|message| message.len() >= 20) else {
                break;
            };
            if u16::from_ne_bytes([message[4], message[5]]) > CONTROLLER {
                messages.push(message.to_vec());
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn normal(mut message: Vec<u8>) -> Vec<u8> {
    message[4..6].copy_from_slice(&FAMILY.to_ne_bytes());
    message[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    message[12..16].fill(0);
    message
}
