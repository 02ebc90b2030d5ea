//! What error numbers of IPVS mean, which depends on the request.

use ipvs_codec::{Request, Service};

use crate::error::{Cause, EEXIST, ENODEV, ENOENT, ESRCH};

const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const EAFNOSUPPORT: i32 = 97;

impl Cause {
    /// What became of a request to IPVS.
    pub(crate) fn of_ipvs(self, request: &Request<'_>) -> Self {
        match self {
            Self::Kernel(mut error) => {
                error.advice = advice(request, error.errno).map(String::into_boxed_str);
                Self::Kernel(error)
            }
            cause => cause,
        }
    }
}

fn advice(request: &Request<'_>, errno: i32) -> Option<String> {
    let text = match (request, errno) {
        (
            Request::NewService(service)
            | Request::SetService(service)
            | Request::SetServiceMasked(service, _),
            ENOENT,
        ) => return Some(missing_module(service)),
        (Request::NewService(_), EEXIST) => "there is one with this key",
        (Request::NewService(_), EAFNOSUPPORT) => "this kernel's IPVS has no IPv6",
        (
            Request::SetService(_)
            | Request::SetServiceMasked(..)
            | Request::DelService(_)
            | Request::GetService(_)
            | Request::NewDest(..)
            | Request::SetDest(..)
            | Request::DelDest(..)
            | Request::Zero(Some(_)),
            ESRCH,
        ) => "there is no such virtual server",
        (Request::NewDest(..), EEXIST) => "it has this real server already",
        (Request::SetDest(..) | Request::DelDest(..), ENOENT) => "it has no such real server",
        (Request::NewDest(..) | Request::SetDest(..), EINVAL) => {
            "the address must be unicast (no IPv6 link-local one) and of the same family unless it is a tunnel \
             without a synchronisation daemon; GUE needs a port"
        }
        (Request::NewDest(..) | Request::SetDest(..), ERANGE) => {
            "a weight is at most 2147483647, and a lower threshold at most the upper one"
        }
        (Request::NewDaemon(_), EEXIST) => "it runs already",
        (Request::NewDaemon(_), ENODEV) => "there is no such interface",
        (Request::NewDaemon(_), EINVAL) => {
            "it does not work while a virtual server has real servers of another family"
        }
        (Request::DelDaemon(_), ESRCH) => "it does not run",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The kernel gives one number for both, and its own attempt to load the module has failed.
fn missing_module(service: &Service) -> String {
    let scheduler = service.scheduler;
    let text = format!("no scheduler {scheduler}: `modprobe ip_vs_{scheduler}`");
    match service.pe {
        Some(pe) => format!("{text}, or no persistence engine {pe}: `modprobe ip_vs_pe_{pe}`"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, KernelError};
    use ipvs_codec::{PeName, Protocol, ServiceKey};

    #[test]
    fn an_error_says_what_its_number_means_for_the_request() {
        let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
        let said = |request: &Request<'_>, errno| {
            let cause = Cause::from(KernelError::new(errno)).of_ipvs(request);
            Error::new(request.to_string(), cause).to_string()
        };
        let service = Service::new(key, "nosuch".parse().unwrap());
        let key_text = "virtual server 10.96.0.10:80/TCP";
        assert_eq!(
            said(&Request::NewService(&service), ENOENT),
            format!(
                "add {key_text}: No such file or directory (os error 2): no scheduler nosuch: `modprobe ip_vs_nosuch`"
            )
        );
        let with_engine = Service {
            pe: Some(PeName::SIP),
            ..service
        };
        let text = said(&Request::SetService(&with_engine), ENOENT);
        assert!(text.ends_with("`modprobe ip_vs_pe_sip`"), "{text}");
        assert_eq!(
            said(&Request::DelService(&key), ESRCH),
            format!(
                "remove {key_text}: No such process (os error 3): there is no such virtual server"
            )
        );
        // Nothing is known of it.
        let text = said(&Request::DelService(&key), 12);
        assert!(text.ends_with("(os error 12)"), "{text}");
    }
}
