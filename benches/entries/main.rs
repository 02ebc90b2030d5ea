//! Entries of nf_tables sets in one go: by netlink, beside `nft -f` of the same. One JSON line for each number and set.
//!
//! `cargo xtask bench entries --kernel 6.12` builds it and runs it in the lab. User-mode Linux has no nf_tables for IP.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use benches::{median, timed};
use clap::Parser;
use ipvs_netfilter::nftables::{
    Change, Entry, Family, Key, KeyField, KeyType, Set, Table, TableId, Value,
};
use ipvs_netlink::{EntryRun, NfTables, Transaction};
use ipvs_test_support::NetNs;

/// Both take turns; the median of each counts.
const REPETITIONS: usize = 5;

#[derive(Debug, Parser)]
struct Options {
    /// Numbers of entries.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000")]
    entries: Vec<u32>,
}

/// Which set is filled.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Address, protocol and port.
    Endpoints,
    /// The same, and a network of clients.
    Ranges,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let namespace = NetNs::new("bench-entries")?;
    namespace.run(|| {
        for kind in [Kind::Endpoints, Kind::Ranges] {
            for count in &options.entries {
                println!("{}", measure(kind, *count)?);
            }
        }
        Ok(())
    })?
}

fn measure(kind: Kind, count: u32) -> Result<serde_json::Value> {
    let file = std::env::temp_dir().join(format!("bench-entries-{}.nft", std::process::id()));
    fs::write(&file, text(kind, count)?)?;
    let set = set(kind)?;
    let entries: Vec<Entry> = (0..count)
        .map(|number| entry(kind, number))
        .collect::<Result<_>>()?;
    let mut tables = NfTables::open()?;
    let (mut netlink, mut program) = (Vec::new(), Vec::new());
    let mut transactions = 0;
    for _ in 0..REPETITIONS {
        fresh(&mut tables, &set)?;
        let before = tables.generation()?;
        let (outcomes, took) = timed(|| tables.change_entries(&[EntryRun::Add(&set, &entries)]));
        ensure!(
            outcomes.iter().flatten().all(Result::is_ok),
            "an entry was refused"
        );
        transactions = tables.generation()?.wrapping_sub(before);
        netlink.push(took);
        check(&mut tables, &set, count)?;

        fresh(&mut tables, &set)?;
        let mut command = Command::new("nft");
        let (status, took) = timed(|| command.arg("-f").arg(&file).status());
        ensure!(status?.success(), "nft failed");
        program.push(took);
        check(&mut tables, &set, count)?;
    }
    fs::remove_file(&file)?;
    let (netlink, program) = (median(netlink), median(program));
    Ok(serde_json::json!({
        "bench": "entries", "set": format!("{kind:?}"), "entries": count,
        "seconds": netlink.as_secs_f64(), "nft_seconds": program.as_secs_f64(),
        "ratio": netlink.as_secs_f64() / program.as_secs_f64(), "transactions": transactions,
    }))
}

/// An empty table with an empty set.
fn fresh(tables: &mut NfTables, set: &Set) -> Result<()> {
    let table = Table::new(set.id.table.clone());
    tables.transact(&Transaction::new(vec![
        Change::AddTable(&table),
        Change::DeleteTable(&table.id),
        Change::CreateTable(&table),
        Change::AddSet(set),
    ]))?;
    Ok(())
}

fn check(tables: &mut NfTables, set: &Set, count: u32) -> Result<()> {
    let found = tables.entries(&set.id)?.context("no set")?;
    ensure!(
        found.len() == usize::try_from(count)?,
        "{} entries",
        found.len()
    );
    Ok(())
}

fn set(kind: Kind) -> Result<Set> {
    use KeyField::{Ipv4, Port, Protocol};
    let table = TableId {
        family: Family::IPV4,
        name: "bench".parse()?,
    };
    let id = table.set("entries".parse()?);
    let key = |fields: &[KeyField]| KeyType::of(fields).context("a key of five fields at most");
    Ok(match kind {
        Kind::Endpoints => Set::new(id, &key(&[Ipv4, Protocol, Port])?),
        Kind::Ranges => Set::of_intervals(id, &key(&[Ipv4, Protocol, Port, Ipv4])?),
    })
}

fn service(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a60_0000 + number)
}

/// A client network of 256 addresses.
fn clients(number: u32) -> [Ipv4Addr; 2] {
    let first = 0xc000_0000 + (number << 8);
    [first, first + 255].map(Ipv4Addr::from_bits)
}

fn entry(kind: Kind, number: u32) -> Result<Entry> {
    let endpoint = [
        Value::ip(service(number).into()),
        Value::byte(6),
        Value::port(80),
    ];
    let value = |more: Option<Ipv4Addr>| {
        let parts: Vec<_> = endpoint
            .into_iter()
            .chain(more.map(|address| Value::ip(address.into())))
            .collect();
        Value::concat(&parts).context("a value of 64 bytes at most")
    };
    Ok(match kind {
        Kind::Endpoints => Entry::of(value(None)?),
        Kind::Ranges => {
            let [first, last] = clients(number);
            Key::Range(value(Some(first))?, value(Some(last))?).into()
        }
    })
}

/// The same entries for `nft -f`.
fn text(kind: Kind, count: u32) -> Result<String> {
    let mut text = String::from("add element ip bench entries {\n");
    for number in 0..count {
        write!(text, "{} . tcp . 80", service(number))?;
        if let Kind::Ranges = kind {
            write!(text, " . {}/24", clients(number)[0])?;
        }
        text.push_str(",\n");
    }
    text.push_str("}\n");
    Ok(text)
}
