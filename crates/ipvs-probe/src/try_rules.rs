use std::io;

use crate::rule_trial::NAME;
use crate::{Facts, Family, Needs, Programs, RuleTrial, TrialOutcome, parse, sample_rules};

/// Writes and removes rules in a network namespace of its own, which goes with the trial: those of the node are not touched. Ends
/// with the first back end that works. It takes `unshare` and `CAP_SYS_ADMIN`; the kernel loads the modules that rules use.
///
/// Only iptables is tried: for nftables there is no program, and who has a connection to the kernel adds a
/// [`RuleTrial::by_netlink`].
#[must_use]
pub fn try_rules(facts: &Facts, needs: &Needs, programs: &mut dyn Programs) -> Vec<RuleTrial> {
    let mut trials = Vec::new();
    let families: &[Family] = if needs.ipv6 {
        &[Family::Ipv4, Family::Ipv6]
    } else {
        &[Family::Ipv4]
    };
    let iptables = facts.program("iptables");
    let version = iptables.and_then(|program| program.version.as_deref());
    let has_ipset = facts
        .program("ipset")
        .is_some_and(|program| program.path.is_some());
    for family in families {
        for suffix in needs.filter.suffixes(version.unwrap_or_default()) {
            let trial = try_one(*family, suffix, has_ipset, programs);
            let works = trial.outcome == TrialOutcome::Works;
            trials.push(trial);
            if works {
                break;
            }
        }
    }
    trials
}

fn try_one(
    family: Family,
    suffix: &str,
    has_ipset: bool,
    programs: &mut dyn Programs,
) -> RuleTrial {
    let (name, inet) = match family {
        Family::Ipv4 => ("iptables", "inet"),
        Family::Ipv6 => ("ip6tables", "inet6"),
    };
    let program = format!("{name}{suffix}-restore");
    let text = sample_rules(family, has_ipset.then_some(NAME));
    let set = if has_ipset {
        format!("ipset create {NAME} hash:ip,port family {inet} && ")
    } else {
        String::new()
    };
    let script =
        format!("command -v {program} > /dev/null || exit 127; {set}exec {program} -w 5 --noflush");
    let outcome = match programs.run("unshare", &["-n", "sh", "-c", &script], &text) {
        Ok(_) => TrialOutcome::Works,
        Err(error) => judge(&program, &error),
    };
    RuleTrial::new(program, family, outcome)
}

/// What a failure says, and of what.
fn judge(program: &str, error: &io::Error) -> TrialOutcome {
    let said = error.to_string();
    if error.kind() == io::ErrorKind::NotFound {
        return TrialOutcome::NotTried("there is no program unshare".to_owned());
    }
    if said.is_empty() {
        return TrialOutcome::NotTried(format!("there is no program {program}"));
    }
    if said.starts_with("unshare:") || said.contains("xtables lock") {
        return TrialOutcome::NotTried(said);
    }
    TrialOutcome::Refused(parse::refused_rules(&said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, NoPrograms, Root};

    /// Answers by the name of the program in the script.
    struct Answers(Vec<(&'static str, &'static str)>, Vec<String>);

    impl Programs for Answers {
        fn run(&mut self, program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
            assert_eq!((program, arguments[0]), ("unshare", "-n"));
            assert!(input.starts_with("*nat\n:KUBE-IPVS-PROBE"));
            let script = arguments[3].to_owned();
            let answer = self.0.iter().find(|(name, _)| script.contains(name));
            self.1.push(script);
            match answer {
                Some((_, said)) => Err(io::Error::other(*said)),
                None => Ok(String::new()),
            }
        }
    }

    fn trials(
        needs: &Needs,
        answers: Vec<(&'static str, &'static str)>,
    ) -> Vec<(String, TrialOutcome)> {
        let tree = tempfile::tempdir().unwrap();
        let facts = Facts::gather(&Root::below(tree.path()), &mut NoPrograms);
        let mut programs = Answers(answers, Vec::new());
        let trials = try_rules(&facts, needs, &mut programs);
        let outcomes = trials
            .into_iter()
            .map(|trial| (trial.by.to_string(), trial.outcome));
        outcomes.collect()
    }

    const REFUSED: &str = "Warning: Extension REJECT revision 0 not supported, missing kernel module?\nip6tables-restore: line 9 failed";

    #[test]
    fn the_first_that_works_is_the_last_that_is_tried() {
        let needs = Needs {
            ipv6: true,
            ..Needs::default()
        };
        let works = |program: &str| (program.to_owned(), TrialOutcome::Works);
        assert_eq!(
            trials(&needs, Vec::new()),
            [works("iptables-restore"), works("ip6tables-restore")]
        );
        let found = trials(&needs, vec![("exec ip6tables-restore", REFUSED)]);
        assert_eq!(found[0], works("iptables-restore"));
        assert!(matches!(&found[1].1, TrialOutcome::Refused(said) if said.contains("REJECT")));
        assert_eq!(found[2], works("ip6tables-legacy-restore"));
    }

    #[test]
    fn only_the_back_end_that_was_chosen_is_tried() {
        let needs = Needs {
            filter: Filter::IptablesNft,
            ..Needs::default()
        };
        let found = trials(&needs, vec![("iptables", REFUSED)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "iptables-nft-restore");
    }

    #[test]
    fn iptables_is_tried_unless_nftables_was_chosen() {
        let with = |filter| {
            let needs = Needs {
                filter,
                ..Needs::default()
            };
            trials(&needs, Vec::new()).len()
        };
        assert_eq!(with(Filter::Auto), 1);
        assert_eq!(with(Filter::Nftables), 0);
    }

    #[test]
    fn what_says_nothing_of_the_node_is_no_refusal() {
        for said in [
            "",
            "unshare: unshare failed: Operation not permitted",
            "Another app is currently holding the xtables lock; waiting (1s) for it to exit...",
        ] {
            let found = trials(&Needs::default(), vec![("iptables", said)]);
            let is_no_refusal = |(_, outcome): &(String, TrialOutcome)| {
                matches!(outcome, TrialOutcome::NotTried(_))
            };
            assert!(found.iter().all(is_no_refusal), "{found:?}");
        }
    }
}
