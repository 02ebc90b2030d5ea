//! What is fuzzed: everything that reads bytes or text from outside. The targets are functions, so that `cargo test` runs
//! them on the corpus and on bent copies of it, without the fuzzer.

use std::path::Path;
use std::time::Duration;

use arbitrary::Unstructured;
use ipvs_codec::reply::frames;
use ipvs_codec::wire::IpvsMessage;
use ipvs_codec::{
    Daemon, Destination, Family, FamilyNumber, Info, Request, SavedLine, Service, ServiceKey, Timeouts, destinations,
    parse_destination, parse_service, services,
};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netfilter::NftEvent;
use ipvs_netfilter::ipset::{Listing, SetSize, parse_protocol, parse_revision};
use ipvs_netfilter::iptables::SavedRules;
use ipvs_netfilter::nftables::{self, Entries, Entry, Place};
use ipvs_filter::iptables::{recognise, ruleset};
use ipvs_netlink::LinkEvent;
use ipvs_model::input::{Change, Manifest, ObjectKind};
use ipvs_model::{Config, LocalTraffic, Model, Plan};
use ipvs_proxier::{
    Activity, ApiObject, Controller, ListEnd, ListError, ListReader, Moment, Pace, Simulated, Step, WatchEvent, WatchReader,
    read_manifest,
};
use netlink_packet_core::Emitable as _;

/// What parses is emitted and parses to the same again; the typed readers never panic.
pub fn ipvs_message(bytes: &[u8]) {
    if let Ok(message) = IpvsMessage::parse(bytes) {
        let mut emitted = vec![0xff; message.buffer_len() + 4];
        emitted[..4].copy_from_slice(&[message.cmd.0, 1, 0, 0]);
        message.emit(&mut emitted[4..]);
        assert_eq!(IpvsMessage::parse(&emitted).as_ref(), Ok(&message));
    }
    let _ = (parse_service(bytes), Info::parse(bytes), Timeouts::parse(bytes), Daemon::parse(bytes));
    let _ = (parse_destination(bytes, Family::Ipv4), parse_destination(bytes, Family::Ipv6));
}

/// Any typed objects: written, read back, as bytes and as text.
pub fn typed_objects(bytes: &[u8]) {
    let mut source = Unstructured::new(bytes);
    let Ok((service, destination, daemon)) = source.arbitrary::<(Service, Destination, Daemon)>() else { return };
    let emitted = |request: Request<'_>| {
        let mut bytes = Vec::new();
        request.emit(&mut bytes);
        bytes
    };
    let written = emitted(Request::NewService(&service));
    assert_eq!(parse_service(&written).map(|observed| observed.service), Ok(service));
    let written = emitted(Request::NewDest(&service.key, &destination));
    assert_eq!(parse_destination(&written, Family::Ipv4).map(|observed| observed.destination), Ok(destination));
    assert_eq!(Daemon::parse(&emitted(Request::NewDaemon(&daemon))), Ok(daemon));
    for line in [SavedLine::Service(service), SavedLine::Destination(service.key, destination)] {
        // What cannot be said in a line is not read back; what is read is said the same way again.
        if let Ok(read) = line.to_string().parse::<SavedLine>() {
            assert_eq!(read.to_string().parse(), Ok(read));
        }
    }
}

/// Answers of the controller, and datagrams of any netlink family: errors with and without the kernel's words.
pub fn netlink_reply(bytes: &[u8]) {
    for frame in frames(bytes).flatten() {
        let _ = (frame.interrupted(), frame.meaning(), FamilyNumber::parse(frame.payload));
    }
    let _ = (FamilyNumber::parse(bytes), services(bytes).count(), destinations(bytes, Family::Ipv4).count());
    let _ = Flow::parse(bytes);
}

/// The files of a node: no line of any of them panics.
pub fn node_files(bytes: &[u8]) {
    use ipvs_probe::parse;
    let text = String::from_utf8_lossy(bytes);
    let loadable = parse::modules_dep(&text);
    assert!(loadable.keys().all(|name| !name.contains('-') && !name.contains('/')));
    let _ = (parse::proc_modules(&text), parse::modules_builtin(&text), parse::modprobe_conf(&text));
    let _ = (parse::command_line(&text), parse::assignments(&text), parse::effective_capabilities(&text));
    let _ = (parse::is_initial_user_namespace(&text), parse::has_read_only_sysctls(&text));
    let _ = (parse::proc_ip_vs(&text), parse::policies(&text), text.parse::<ipvs_probe::KernelRelease>().is_ok());
}

/// Lines of `ipvsadm -S -n`.
pub fn saved_line(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Ok(read) = line.parse::<SavedLine>() {
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        let _ = (line.parse::<ServiceKey>(), line.parse::<Destination>());
    }
}

/// The first byte splits the rest into two messages of one listing.
pub fn ipset_listing(bytes: &[u8]) {
    let Some((at, rest)) = bytes.split_first() else { return };
    let (first, second) = rest.split_at(usize::from(*at).min(rest.len()));
    let mut listing = Listing::default();
    let _ = (listing.read(first), listing.read(second), parse_revision(rest), parse_protocol(rest));
    let _ = SetSize::parse(rest);
}

/// The first two bytes are the type of the message that the rest is told in.
pub fn notification(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first_chunk() else { return };
    let kind = u16::from_ne_bytes(*kind);
    let _ = (LinkEvent::parse(kind, rest), NftEvent::parse(kind, rest));
}

/// Any answer of nf_tables: the first byte says to what question. What parses is written and parses to the same again.
pub fn nf_tables(bytes: &[u8]) {
    let Some((question, message)) = bytes.split_first() else { return };
    let written = |change: nftables::Change<'_>| {
        let mut bytes = Vec::new();
        change.emit(&mut bytes);
        bytes
    };
    match question % 6 {
        0 => {
            let Ok(read) = nftables::Table::parse(message) else { return };
            let again = nftables::Table::parse(&written(nftables::Change::AddTable(&read.object)));
            assert_eq!(again.map(|again| again.object), Ok(read.object));
        }
        1 => {
            let Ok(read) = nftables::Chain::parse(message) else { return };
            let again = nftables::Chain::parse(&written(nftables::Change::AddChain(&read.object)));
            assert_eq!(again.map(|again| again.object), Ok(read.object));
        }
        2 => {
            let Ok(read) = nftables::Set::parse(message) else { return };
            let again = nftables::Set::parse(&written(nftables::Change::AddSet(&read.object)));
            assert_eq!(again.map(|again| again.object), Ok(read.object));
        }
        3 => {
            let Ok(read) = nftables::Rule::parse(message) else { return };
            let again = nftables::Rule::parse(&written(nftables::Change::AddRule(&read.object, Place::End)));
            assert_eq!(again.map(|again| again.object), Ok(read.object));
        }
        4 => {
            let mut entries = Vec::new();
            let Ok(id) = Entry::parse_list(message, &mut entries) else { return };
            let Some(key) = nftables::KeyType::of(&[nftables::KeyField::Port]) else { return };
            let set = nftables::Set::new(id.clone(), &key);
            let (mut rest, mut again) = (&entries[..], Vec::new());
            while !rest.is_empty() {
                let (some, behind) = Entries::split(rest, usize::MAX);
                let change = nftables::Change::AddEntries(&set, some);
                let _ = (change.to_string(), change.entry_at(u32::from(*question)));
                assert_eq!(Entry::parse_list(&written(change), &mut again), Ok(id.clone()));
                rest = behind;
            }
            assert_eq!(again, entries);
        }
        _ => drop(nftables::parse_generation(message)),
    }
}

/// Any output of `iptables-save`: a shape that is recognised has the rules that are there.
pub fn iptables_save(bytes: &[u8]) {
    let saved = SavedRules::parse(&String::from_utf8_lossy(bytes));
    for family in Family::ALL {
        let known = recognise(family, &saved);
        if let Some(shape) = known.shape {
            assert!(ruleset(&shape).is_in(&saved));
        }
    }
}

/// Any manifest file, as YAML and as JSON.
pub fn manifest(bytes: &[u8]) {
    for name in ["fuzz.yaml", "fuzz.json"] {
        plan(read_manifest(Path::new(name), bytes).unwrap_or_default());
    }
}

/// Events of a cluster, as JSON documents: the first byte says which of them are said, taken back or said twice.
pub fn events(bytes: &[u8]) {
    let Some((mask, text)) = bytes.split_first() else { return };
    let mut all = Vec::new();
    for (at, manifest) in serde_json::Deserializer::from_slice(text).into_iter::<Manifest>().enumerate() {
        let Ok(changes) = manifest.map_err(drop).and_then(|manifest| manifest.into_changes().map_err(drop)) else {
            break;
        };
        for change in changes {
            all.extend((mask >> (at % 4) & 1 == 1).then(|| gone(&change)).flatten());
            all.push(change.clone());
            all.extend((mask >> (4 + at % 4) & 1 == 1).then(|| gone(&change)).flatten());
        }
    }
    plan(all);
}

/// Which objects are asked for, and in parts of how many bytes the answer comes: the first byte says so.
fn answer(bytes: &[u8]) -> Option<(ObjectKind, usize, &[u8])> {
    let (how, text) = bytes.split_first()?;
    let kind = [ObjectKind::Service, ObjectKind::EndpointSlice, ObjectKind::Node][usize::from(how % 3)];
    Some((kind, usize::from(how / 3) + 1, text))
}

/// What the API answers to a list: however it comes, the same objects are read.
pub fn api_list(bytes: &[u8]) {
    let Some((kind, part, text)) = answer(bytes) else { return };
    let read = |part: usize| -> Result<(Vec<ApiObject>, ListEnd), ListError> {
        let mut reader = ListReader::new(kind);
        let mut objects = Vec::new();
        for bytes in text.chunks(part) {
            objects.extend(reader.push(bytes)?);
        }
        let mut end = reader.finish()?;
        objects.append(&mut end.objects);
        Ok((objects, end))
    };
    let whole = read(usize::MAX).ok();
    assert_eq!(read(part).ok(), whole);
    let Some((objects, _)) = whole else { return };
    for object in &objects {
        assert!(object.name.is_some() || object.change.is_err(), "who is it? {object:?}");
    }
    plan(objects.into_iter().filter_map(|object| object.change.ok()).collect());
}

/// What the API answers to a watch: however it comes, the same events are read.
pub fn api_watch(bytes: &[u8]) {
    let Some((kind, part, text)) = answer(bytes) else { return };
    let read = |part: usize| {
        let mut reader = WatchReader::new(kind);
        let mut events = Vec::new();
        for bytes in text.chunks(part) {
            events.extend(reader.push(bytes));
        }
        events.extend(reader.finish());
        events
    };
    let whole = read(usize::MAX);
    assert_eq!(read(part), whole);
    let change = |event| match event {
        WatchEvent::Put(object) => object.change.ok(),
        WatchEvent::Gone { name, .. } => Some(match kind {
            ObjectKind::Service => Change::ServiceGone(name),
            ObjectKind::EndpointSlice => Change::EndpointSliceGone(name),
            ObjectKind::Node => Change::NodeGone(name.name.as_ref().to_owned()),
        }),
        _ => None,
    };
    plan(whole.into_iter().filter_map(change).collect());
}

fn gone(change: &Change) -> Option<Change> {
    match change {
        Change::Service(service) => Some(Change::ServiceGone(service.name.clone())),
        Change::EndpointSlice(slice) => Some(Change::EndpointSliceGone(slice.name.clone())),
        Change::Node(node) => Some(Change::NodeGone(node.name.clone())),
        _ => None,
    }
}

/// One plan after each change: what the kernel takes is there, and when it takes everything nothing is left to do.
fn plan(changes: Vec<Change>) {
    let config = Config { node_name: "node-0".into(), local_traffic: LocalTraffic::NodeCidrs, ..Config::default() };
    let mut node = Node {
        controller: Controller::new(Model::new(config), Pace { min_sync: Duration::ZERO, ..Pace::default() }),
        kernel: Simulated::default(),
        now: Moment::now(),
        failed: false,
    };
    node.take(Vec::new());
    for change in changes {
        node.take(vec![change]);
    }
    node.controller.hurry(Activity::Resync, node.now);
    let left = node.take(Vec::new());
    assert!(node.failed || left.is_empty(), "{left}");
}

/// A node whose clock stands still.
struct Node {
    controller: Controller,
    kernel: Simulated,
    now: Moment,
    failed: bool,
}

impl Node {
    /// Everything that is due after changes; the operations of the last step.
    fn take(&mut self, changes: Vec<Change>) -> Plan {
        self.controller.source(self.now, changes, Vec::new(), true);
        let mut last = Plan::default();
        loop {
            match self.controller.poll(&self.now, &mut self.kernel) {
                Step::More => {}
                Step::Did(report) => {
                    self.failed |= !report.succeeded();
                    last = report.plan;
                }
                Step::Wait(_) => return last,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The files of a corpus, each whole, cut at some places, and with some bytes bent.
    fn each(target: &str, run: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            files += 1;
            run(&bytes);
            let step = bytes.len() / 40 + 1;
            for at in (0..bytes.len()).step_by(step) {
                run(&bytes[..at]);
                for bent in [0, 0xff, bytes[at] ^ 0x80, bytes[at].wrapping_add(1)] {
                    let mut copy = bytes.clone();
                    copy[at] = bent;
                    run(&copy);
                }
            }
        }
        assert!(files > 0, "no corpus for {target}");
    }

    #[test]
    fn ipvs_message() {
        each("ipvs_message", super::ipvs_message);
    }

    #[test]
    fn typed_objects() {
        each("typed_objects", super::typed_objects);
    }

    #[test]
    fn netlink_reply() {
        each("netlink_reply", super::netlink_reply);
    }

    #[test]
    fn node_files() {
        each("node_files", super::node_files);
    }

    #[test]
    fn saved_line() {
        each("saved_line", super::saved_line);
    }

    #[test]
    fn ipset_listing() {
        each("ipset_listing", super::ipset_listing);
    }

    #[test]
    fn nf_tables() {
        each("nf_tables", super::nf_tables);
    }

    #[test]
    fn notification() {
        each("notification", super::notification);
    }

    #[test]
    fn iptables_save() {
        each("iptables_save", super::iptables_save);
    }

    #[test]
    fn events() {
        each("events", super::events);
    }

    #[test]
    fn api_list() {
        each("api_list", super::api_list);
    }

    #[test]
    fn api_watch() {
        each("api_watch", super::api_watch);
    }

    #[test]
    fn manifest() {
        each("manifest", super::manifest);
    }
}
