/// Rules that kube-proxy made, as `iptables-save` prints them, in our order: in chain KUBE-SERVICES the rules that accept what
/// goes to cluster IPs and load balancers stand before the jump for node ports, and not behind it (its quirk 16). Nothing else
/// is moved, and these are only where they follow the jump at once and each once.
///
/// ```
/// use ipvs_test_support::in_our_order;
///
/// let jump = "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\n";
/// let accept = "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n";
/// assert_eq!(in_our_order(&format!("{jump}{accept}COMMIT\n")), format!("{accept}{jump}COMMIT\n"));
/// ```
#[must_use]
pub fn in_our_order(saved: &str) -> String {
    let mut lines: Vec<&str> = saved.split_inclusive('\n').collect();
    let jump = lines.iter().position(|line| line.trim_end() == JUMP);
    if let Some(at) = jump {
        let mut accepts = ACCEPTED.iter().peekable();
        let behind = lines.iter().skip(at.saturating_add(1));
        let count = behind
            .take_while(|line| accepts.any(|set| is_accept(line, set)))
            .count();
        if let Some(moved) = lines.get_mut(at..=at.saturating_add(count)) {
            moved.rotate_left(1);
        }
    }
    lines.concat()
}

const JUMP: &str = "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT";
/// In the order of their rules.
const ACCEPTED: [&str; 2] = ["CLUSTER-IP", "LOAD-BALANCER"];

fn is_accept(line: &str, set: &str) -> bool {
    let is_of = |prefix| {
        line.trim_end()
            == format!("-A KUBE-SERVICES -m set --match-set {prefix}{set} dst,dst -j ACCEPT")
    };
    is_of("KUBE-") || is_of("KUBE-6-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str =
        "-A KUBE-SERVICES -m set --match-set KUBE-6-CLUSTER-IP dst,dst -j ACCEPT\n";
    const BALANCER: &str =
        "-A KUBE-SERVICES -m set --match-set KUBE-6-LOAD-BALANCER dst,dst -j ACCEPT\n";
    const LOOPBACK: &str = "-A KUBE-SERVICES -s ::1/128 -j RETURN\n";

    fn text(lines: &[&str]) -> String {
        let jump = format!("{JUMP}\n");
        let line = |line: &&str| {
            if line.is_empty() {
                jump.clone()
            } else {
                (*line).to_owned()
            }
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn the_jump_for_node_ports_goes_behind_what_is_accepted() {
        for accepted in [
            vec![],
            vec![CLUSTER],
            vec![BALANCER],
            vec![CLUSTER, BALANCER],
        ] {
            let recorded = text(&[&[LOOPBACK, ""], &accepted[..], &["COMMIT\n"]].concat());
            let ours = text(&[&[LOOPBACK], &accepted[..], &["", "COMMIT\n"]].concat());
            assert_eq!(in_our_order(&recorded), ours);
        }
    }

    #[test]
    fn no_other_change_of_order_is_accepted() {
        let recorded = text(&[LOOPBACK, "", CLUSTER, BALANCER]);
        let wanted = in_our_order(&recorded);
        let mut accepted = Vec::new();
        for at in 0..4_usize.pow(4) {
            let places = [0, 1, 2, 3].map(|digit| at / 4_usize.pow(digit) % 4);
            let distinct: std::collections::BTreeSet<usize> = places.into();
            let found = places.map(|place| [LOOPBACK, "", CLUSTER, BALANCER][place]);
            if distinct.len() == 4 && text(&found) == wanted {
                accepted.push(found);
            }
        }
        assert_eq!(accepted, [[LOOPBACK, CLUSTER, BALANCER, ""]]);
        // Nor is what follows the jump moved if it is something else.
        for other in [
            "-A KUBE-NODE-PORT -j ACCEPT\n",
            "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ\n",
            "-A KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP dst,dst -j ACCEPT\n",
            "-A KUBE-SERVICES -p tcp -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n",
        ] {
            let recorded = text(&["", other, CLUSTER]);
            assert_eq!(in_our_order(&recorded), recorded);
        }
        let twice = text(&["", CLUSTER, CLUSTER]);
        assert_eq!(in_our_order(&twice), text(&[CLUSTER, "", CLUSTER]));
        let swapped = text(&["", BALANCER, CLUSTER]);
        assert_eq!(in_our_order(&swapped), text(&[BALANCER, "", CLUSTER]));
    }
}
