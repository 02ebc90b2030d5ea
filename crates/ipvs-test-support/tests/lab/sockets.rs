//! Faults between the proxier and its sockets: system calls of the thread that talks to the kernel fail, over and over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipvs_test_support::{Cluster, RunningProxier, ask_tcp, eventually, workspace};

use crate::changes::{POD_A, POD_B, web};
use crate::hands::observe;
use crate::metrics::get;
use crate::packets::{CIDR, addr};

/// As `strace` injects them: every so many calls the kernel is not asked, and its last answer, if there is one, stays for
/// the next call.
const FAULTS: [&[&str]; 9] = [
    // Answers were lost.
    &["recvfrom:error=ENOBUFS:when=3+11"],
    // A signal.
    &["recvfrom:error=EINTR:when=1+2"],
    // Nothing came in time.
    &["recvfrom:error=EAGAIN:when=2+13"],
    // Closed from the other side.
    &["recvfrom:retval=0:when=5+9"],
    // A datagram larger than what there is room for.
    &["recvfrom:retval=99999:when=4+7"],
    &["sendto:error=ENOBUFS:when=2+7"],
    &["sendto:error=ENOMEM:when=3+5"],
    // A kernel that is slow.
    &["sendto:delay_exit=20000:when=1+3"],
    // No new socket after one that failed.
    &[
        "recvfrom:error=ENOBUFS:when=2+9",
        "socket:error=EMFILE:when=1+2",
    ],
];
/// For how long each happens, and until it has happened: on a busy machine three seconds may be too few for a single call.
const TIME: Duration = Duration::from_secs(3);
const MOST_CHANGES: usize = 1_000;
const FOREIGN: &str = "-A -t 192.0.2.77:443 -s rr";

/// System calls of one thread, while this lives.
struct Injected {
    strace: Child,
    log: PathBuf,
}

impl Injected {
    /// The main thread of the process: the others serve health and metrics.
    fn start(process: u32, faults: &[&str], log: &Path) -> Result<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-e", "trace=sendto,recvfrom,socket", "-o"]);
        strace.arg(log).args(["-p", &process.to_string()]);
        for fault in faults {
            strace.args(["-e", &format!("inject={fault}")]);
        }
        Ok(Self {
            strace: strace.stdin(Stdio::null()).spawn().context("run strace")?,
            log: log.to_owned(),
        })
    }

    /// How many calls were told a lie so far.
    fn lies(&self) -> Result<usize> {
        let told = fs::read_to_string(&self.log)?;
        let lies = ["(INJECTED)", "(DELAYED)"];
        Ok(lies.iter().map(|lie| told.matches(lie).count()).sum())
    }

    /// Lets go of the process; how many calls were told a lie.
    fn stop(mut self) -> Result<usize> {
        let strace = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(strace, rustix::process::Signal::TERM)?;
        self.strace.wait()?;
        self.lies()
    }
}

/// Clients notice nothing, what is foreign stays, health answers, and two resyncs after the last fault the kernel is
/// as wanted.
#[test]
fn whatever_sockets_do_two_resyncs_later_all_is_as_wanted() {
    let cluster = Cluster::new("sockets").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    fs::create_dir(&objects).unwrap();
    for file in fs::read_dir(workspace().join("examples/manifests")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), objects.join(file.file_name())).unwrap();
    }
    let change = |endpoints: &str| {
        let new = objects.join("web.new");
        fs::write(&new, web(endpoints)).unwrap();
        fs::rename(&new, objects.join("web.yaml")).unwrap();
    };
    let both = format!("{POD_A}{POD_B}");
    change(&both);
    let words: Vec<&str> = FOREIGN.split(' ').collect();
    cluster.node.output("ipvsadm", &words).unwrap();
    let log = folder.path().join("log");
    let arguments = [
        &format!("--manifests={}", objects.display()),
        CIDR,
        "--foreign=keep",
        "--ipvs-min-sync-period=0s",
        "--ipvs-sync-period=500ms",
        "--healthz-bind-address=127.0.0.1:10256",
    ];
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let ask = || ask_tcp(&cluster.client, addr("10.96.0.10:80")).map(drop);
    eventually(Duration::from_secs(60), ask).unwrap();
    let wanted = observe(&cluster.node).unwrap();

    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let (mut injected, mut longest) = (0, Duration::ZERO);
    let mut one = |faults: &[&str]| -> Result<()> {
        let calls = folder.path().join("calls");
        let injecting = Injected::start(proxier.id(), faults, &calls)?;
        let start = Instant::now();
        let every = [POD_A, both.as_str(), POD_B];
        for endpoints in every.iter().cycle().take(MOST_CHANGES) {
            change(endpoints);
            let health = get(&cluster.node, 10256, "/livez")?;
            ensure!(health.starts_with("HTTP/1.1 "), "{health}");
            let table = cluster.node.output("ipvsadm", &["-S", "-n"])?;
            ensure!(table.contains(FOREIGN), "{table}");
            thread::sleep(Duration::from_millis(300));
            if start.elapsed() > TIME && injecting.lies()? > 0 {
                break;
            }
        }
        change(&both);
        let count = injecting.stop()?;
        ensure!(count > 0, "nothing failed");
        injected += count;
        let start = Instant::now();
        eventually(Duration::from_secs(20), || {
            let found = observe(&cluster.node)?;
            ensure!(found == wanted, "{found:?}\ninstead of\n{wanted:?}");
            let health = get(&cluster.node, 10256, "/livez")?;
            ensure!(health.starts_with("HTTP/1.1 200"), "{health}");
            Ok(())
        })?;
        longest = longest.max(start.elapsed());
        Ok(())
    };
    thread::scope(|scope| {
        // Both pods answer all the time, endpoint or not: no request may fail.
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask()?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        for faults in FAULTS {
            let done = one(faults);
            stop.store(done.is_err(), Ordering::Relaxed);
            done.unwrap_or_else(|error| {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("{faults:?}: {error:#}\n{log}")
            });
        }
        stop.store(true, Ordering::Relaxed);
        let asking = asking.join().unwrap();
        asking.unwrap_or_else(|error| panic!("after {asked:?} requests: {error:#}"));
    });
    println!(
        "{injected} faults of {} kinds, {} requests, none failed, all right after at most {longest:?}",
        FAULTS.len(),
        asked.load(Ordering::Relaxed)
    );
    assert!(proxier.stop().unwrap().success());
}
