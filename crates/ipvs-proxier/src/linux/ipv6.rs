//! VIPs on an interface that has IPv6 disabled. New interfaces have it where `net.ipv6.conf.default.disable_ipv6` is 1; the
//! kernel then refuses each IPv6 address and route with `EACCES`.

use ipvs_netlink::{Binding, Cause, LinkIndex, Links};
use ipvs_probe::{SysctlError, Sysctls};
use tracing::info;

use crate::error::PlaneError;

const EACCES: i32 = 13;

/// Binds to the interface of a name, which is ours. Where it has IPv6 disabled, IPv6 is enabled, and what was refused is bound
/// again.
pub(super) fn bind(
    links: &mut Links,
    name: &'static str,
    index: LinkIndex,
    bindings: &[Binding],
) -> Vec<Result<(), PlaneError>> {
    let mut done = links.bind(index, bindings);
    let is_refused = |binding: &Binding, outcome: &ipvs_netlink::Outcome| {
        let errno = outcome.as_ref().err().and_then(ipvs_netlink::Error::errno);
        errno == Some(EACCES) && is_ipv6(binding)
    };
    let both = bindings.iter().zip(&done);
    let refused: Vec<Binding> = both
        .filter(|(binding, outcome)| is_refused(binding, outcome))
        .map(|(binding, _)| *binding)
        .collect();
    if refused.is_empty() {
        let done = done.into_iter();
        return done
            .map(|outcome| Ok(outcome.map_err(Cause::from)?))
            .collect();
    }
    let disabled = enable(&Sysctls::default(), name).err();
    if disabled.is_none() {
        let mut again = links.bind(index, &refused).into_iter();
        for (binding, outcome) in bindings.iter().zip(&mut done) {
            if is_refused(binding, outcome)
                && let Some(second) = again.next()
            {
                *outcome = second;
            }
        }
    }
    let disabled = disabled.map(|error| error.to_string());
    let told = |(binding, outcome): (&Binding, ipvs_netlink::Outcome)| {
        let is_refused = is_refused(binding, &outcome);
        outcome
            .map_err(Cause::from)
            .map_err(|cause| match &disabled {
                Some(reason) if is_refused => PlaneError::Ipv6Disabled {
                    name,
                    cause,
                    reason: reason.clone(),
                },
                _ => cause.into(),
            })
    };
    bindings.iter().zip(done).map(told).collect()
}

const fn is_ipv6(binding: &Binding) -> bool {
    match binding {
        Binding::Address(address)
        | Binding::Network(address, _)
        | Binding::Route { address, .. } => address.is_ipv6(),
    }
}

/// Enables IPv6 on an interface if it is not.
fn enable(sysctls: &Sysctls, name: &str) -> Result<(), SysctlError> {
    let sysctl = format!("net.ipv6.conf.{name}.disable_ipv6");
    if sysctls.ensure(&sysctl, "0")? {
        info!(interface = name, "enabled IPv6");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ipv6_is_enabled_on_the_interface_alone_and_a_failure_has_the_command() {
        let tree = tempfile::tempdir().unwrap();
        let file = |link: &str| {
            let folder = tree.path().join("net/ipv6/conf").join(link);
            fs::create_dir_all(&folder).unwrap();
            folder.join("disable_ipv6")
        };
        for link in ["default", "kube-ipvs0"] {
            fs::write(file(link), "1\n").unwrap();
        }
        let sysctls = Sysctls::below(tree.path());
        enable(&sysctls, "kube-ipvs0").unwrap();
        assert_eq!(fs::read_to_string(file("kube-ipvs0")).unwrap(), "0");
        assert_eq!(fs::read_to_string(file("default")).unwrap(), "1\n");
        let error = enable(&sysctls, "gone").unwrap_err().to_string();
        assert!(error.contains("net.ipv6.conf.gone.disable_ipv6"), "{error}");
    }
}
