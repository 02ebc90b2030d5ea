//! One of Debian's kernels in QEMU, without help of this machine's kernel, on this machine's own files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::LabOptions;
use super::fetch::{self, Fetched};
use super::folder::Folder;
use super::guest::{Guest, exit_status};
use super::kernel::{Backend, DebianKernel};
use super::modules;
use super::virtiofsd::Virtiofsd;

/// Between two looks at something that is about to be there.
const PAUSE: Duration = Duration::from_millis(20);

/// What processes expect in `/dev`, and the two streams.
const MACHINE: &str = r#"
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
for stream in 0/stdin 1/stdout 2/stderr; do ln -s "/proc/self/fd/${stream%/*}" "/dev/${stream#*/}"; done
# Its name comes after the port.
port() {
    for _ in 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9; do
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2>/dev/null)" = "$1" ] && echo "/dev/${port##*/}" && return
        done
        sleep 0.5
    done
}
"#;

/// A port can be open once only: the command writes to pipes, which it may open anew as `/dev/stderr` and the like. What it
/// leaves running has to end first, or the pipes would stay open.
const RUN: &str = r#"
mkfifo /run/lab/out /run/lab/err
out_port=$(port out) err_port=$(port err)
[ -c "$out_port" ] && [ -c "$err_port" ] || refuse "no way out for what the command says"
cat /run/lab/out > "$out_port" & out=$!
cat /run/lab/err > "$err_port" & err=$!
( exec COMMAND ) > /run/lab/out 2> /run/lab/err < /dev/null
status=$?
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case " 1 $out $err " in *" $process "*) ;; *) kill -9 "$process" 2>/dev/null ;; esac
done
wait $out $err
finish $status
"#;
const SHELL: &str =
    "stty -F /dev/hvc0 WINDOW; setsid sh -c 'exec bash -i </dev/hvc0 >/dev/hvc0 2>&1'";

/// Restarting ends the machine (`-no-reboot`), and needs no driver. Without `/proc` the end of the first process does it.
const END: &str = "echo b > /proc/sysrq-trigger; exit 1";

/// What the node and the tests need. Loading them takes many seconds here: a first sync would run into its time limits.
const PRELOADED: [&str; 38] = [
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_sh",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_mh",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "dummy",
    "veth",
    "bridge",
    "sctp",
    "ip_set",
    "ip_set_hash_ip",
    "ip_set_hash_net",
    "ip_set_hash_ipport",
    "ip_set_hash_ipportip",
    "ip_set_hash_ipportnet",
    "ip_set_bitmap_port",
    "xt_set",
    "xt_mark",
    "xt_comment",
    "xt_conntrack",
    "xt_addrtype",
    "xt_MASQUERADE",
    "xt_nat",
    "xt_tcpudp",
    "xt_multiport",
    "xt_ipvs",
    "ipt_REJECT",
    "ip6t_REJECT",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nfnetlink",
    "x_tables",
    "xt_statistic",
];
const PRELOADED_NFT: [&str; 3] = ["nf_tables", "nft_compat", "nft_chain_nat"];
const PRELOADED_LEGACY: [&str; 4] = [
    "iptable_filter",
    "iptable_nat",
    "ip6table_filter",
    "ip6table_nat",
];

/// What the command says goes to `said`, or where this program's own output goes.
pub(super) fn run(
    options: &LabOptions,
    kernel: &DebianKernel,
    command: &[OsString],
    said: Option<File>,
) -> Result<u8> {
    let fetched = fetch::kernel(kernel)?;
    let folder = Folder::new()?;
    let release = modules::release(&fetched.modules)?;
    let hidden = options.hidden_modules();
    let seen_modules = if hidden.is_empty() {
        fetched.modules.clone()
    } else {
        modules::without(&fetched.modules, &release, &hidden, folder.path())?
    };
    let backend = options.backend();
    let preloaded = preloaded(options, backend);
    let shell = SHELL.replace("WINDOW", &window());
    let status = folder.file("status");
    let guest = Guest {
        command,
        status: &status,
        machine: MACHINE,
        all_modules: &fetched.modules,
        modules: &seen_modules,
        boot: fetched.boot.is_dir().then_some(fetched.boot.as_path()),
        preloaded: &preloaded,
        backend,
        run: if command.is_empty() { &shell } else { RUN },
        end: END,
    };
    let init = folder.file("init");
    fs::write(&init, guest.script()?.as_encoded_bytes())?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    let virtiofsd = Virtiofsd::start(&folder)?;
    let mut qemu = machine(options, &fetched, &folder, &virtiofsd, &init);
    if command.is_empty() {
        qemu.args(["-chardev", "stdio,id=terminal,signal=off"]);
        qemu.args(["-device", "virtconsole,chardev=terminal"]);
    } else {
        for stream in ["out", "err"] {
            let socket = value(&folder.file(stream));
            qemu.arg("-chardev").arg(format!(
                "socket,id={stream},server=on,wait=on,path={socket}"
            ));
            qemu.arg("-device")
                .arg(format!("virtserialport,chardev={stream},name={stream}"));
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let problems = folder.file("qemu.txt");
    qemu.stderr(File::create(&problems)?);
    let mut child = qemu
        .spawn()
        .context("cannot run qemu-system-x86_64 (package qemu-system-x86)")?;
    let streams = if command.is_empty() {
        Ok(())
    } else {
        streams(&mut child, &folder, said)
    };
    let exit = child.wait()?;
    streams?;
    if let Some(status) = exit_status(&status)? {
        return Ok(status);
    }
    bail!(
        "the kernel {release} ended ({exit}) before the command did: is --memory {} enough? What QEMU and the kernel said:\n{}{}",
        options.memory,
        fs::read_to_string(&problems).unwrap_or_default(),
        last_lines(&folder.file("console.txt")),
    )
}

fn machine(
    options: &LabOptions,
    fetched: &Fetched,
    folder: &Folder,
    virtiofsd: &Virtiofsd,
    init: &Path,
) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
    ]);
    qemu.args([
        "-machine",
        "q35,accel=tcg,memory-backend=ram",
        "-cpu",
        "max",
    ]);
    let memory = &options.memory;
    qemu.args(["-m", memory, "-object"]);
    qemu.arg(format!(
        "memory-backend-memfd,id=ram,size={memory},share=on"
    ));
    if options.icount {
        // Time is counted in instructions, two nanoseconds each, which one processor can do only.
        qemu.args(["-smp", "1", "-icount", "shift=1"]);
    } else {
        qemu.args(["-smp", "2"]);
    }
    qemu.arg("-chardev")
        .arg(format!("socket,id=root,path={}", value(virtiofsd.socket())));
    qemu.args([
        "-device",
        "vhost-user-fs-pci,queue-size=1024,chardev=root,tag=host",
    ]);
    qemu.args(["-device", "virtio-serial-pci", "-chardev"]);
    let console = value(&folder.file("console.txt"));
    qemu.arg(format!("file,id=console,path={console}"));
    qemu.args(["-serial", "chardev:console", "-kernel"])
        .arg(&fetched.image);
    let mut line = OsString::from(
        "rw quiet panic=-1 console=ttyS0 mitigations=off random.trust_cpu=on root=host rootfstype=virtiofs",
    );
    if let Some(initramfs) = &fetched.initramfs {
        qemu.arg("-initrd").arg(initramfs);
        line.push(" lab_init=");
    } else {
        line.push(" init=");
    }
    line.push(init);
    qemu.arg("-append").arg(line);
    qemu
}

fn preloaded(options: &LabOptions, backend: Backend) -> Vec<&'static str> {
    if options.cold {
        return Vec::new();
    }
    let more = match backend {
        Backend::Nft => &PRELOADED_NFT[..],
        Backend::Legacy => &PRELOADED_LEGACY,
    };
    PRELOADED.iter().chain(more).copied().collect()
}

/// Copies what the guest says for as long as it runs.
fn streams(child: &mut Child, folder: &Folder, said: Option<File>) -> Result<()> {
    let to = match said {
        Some(said) => [said.try_clone()?, said],
        None => [
            File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
            File::from(std::io::stderr().as_fd().try_clone_to_owned()?),
        ],
    };
    // Both before anything is copied: the machine waits for them.
    let mut copies = Vec::new();
    for (name, to) in ["out", "err"].into_iter().zip(to) {
        let socket = folder.file(name);
        let from = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        };
        copies.push((from, to));
    }
    thread::scope(|scope| {
        for (mut from, mut to) in copies {
            // A reader that went away does not stop the guest; what it says then is for nobody.
            scope.spawn(move || {
                std::io::copy(&mut from, &mut to)
                    .or_else(|_| std::io::copy(&mut from, &mut std::io::sink()))
            });
        }
    });
    Ok(())
}

/// A path among the comma-separated options of QEMU.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The size of the terminal outside, for `stty`.
fn window() -> String {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or_else(
        |_| String::new(),
        |size| format!("rows {} cols {}", size.ws_row, size.ws_col),
    )
}

fn last_lines(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
