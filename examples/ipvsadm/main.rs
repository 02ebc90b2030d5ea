//! ipvsadm over the ipvs crates: its commands and options, the text that it prints, its exit statuses.
//!
//! ```sh
//! cargo xtask lab -- sh -c 'target/debug/examples/ipvsadm -A -t 10.96.0.10:80 && target/debug/examples/ipvsadm -L -n'
//! ```

mod change;
mod command;
mod connections;
mod failure;
mod help;
mod list;
mod names;
mod number;
mod options;
mod order;
mod restore;
mod settings;
mod show;
mod words;

use std::process::ExitCode;

use ipvs_netlink::Ipvs;

use crate::command::Action;
use crate::failure::Failure;
use crate::names::Names;
use crate::options::Given;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_else(|| "ipvsadm".into());
    let words: Vec<String> = words.collect();
    match run(&program, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(program: &str, words: &[String]) -> Result<(), Failure> {
    let mut ipvs = Ipvs::open().map_err(|error| Failure::wrong(initialise(error.cause())))?;
    let mut names = Names::read();
    if words.is_empty() {
        return show::all(&mut ipvs, Given::default(), &mut names);
    }
    let action = command::read(program, words, &names)?;
    perform(program, &mut ipvs, action, &mut names)
}

fn perform(
    program: &str,
    ipvs: &mut Ipvs,
    action: Action,
    names: &mut Names,
) -> Result<(), Failure> {
    match action {
        Action::Restore => restore::restore(program, ipvs, names),
        Action::Change(change) => restore::apply(ipvs, &[change]),
        action => show::show(program, ipvs, action, names),
    }
}

fn initialise(cause: &ipvs_netlink::Cause) -> String {
    let why = match cause {
        ipvs_netlink::Cause::NoFamily(_) => "Protocol not available".to_owned(),
        cause => change::general(cause),
    };
    format!(
        "Can't initialize ipvs: {why}\nAre you sure that IP Virtual Server is built in the kernel or as module?"
    )
}
