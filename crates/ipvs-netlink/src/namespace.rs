use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Cause, Error};

/// A network namespace to open handles in. It lives as long as one of its handles does.
///
/// ```no_run
/// use ipvs_netlink::{Ipvs, NetworkNamespace};
///
/// let namespace = NetworkNamespace::named("blue")?; // made by `ip netns add blue`
/// let mut ipvs = Ipvs::open_in(&namespace)?;
/// println!("{}", ipvs.info()?);
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NetworkNamespace {
    file: Arc<OwnedFd>,
    /// For what is said of it.
    path: Option<Arc<Path>>,
}

impl NetworkNamespace {
    /// A namespace by the path of its file: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`Cause::Namespace`] when the file cannot be opened.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| {
            Error::new(
                format!("open network namespace {}", path.display()),
                unusable(error.to_string(), &error),
            )
        })?;
        Ok(Self {
            path: Some(path.into()),
            ..Self::from_fd(file.into())
        })
    }

    /// A namespace by its file, opened already. Another kind of file gives an error when a handle is opened.
    #[must_use]
    pub fn from_fd(file: OwnedFd) -> Self {
        Self {
            file: Arc::new(file),
            path: None,
        }
    }

    /// A namespace that `ip netns add` made.
    ///
    /// # Errors
    /// [`Cause::Namespace`] when there is none of the name (`ENOENT`), or it is no name: empty, or with a `/`.
    pub fn named(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            let reason = "it takes a name as `ip netns add` does";
            let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(Error::new(
                format!("open network namespace {name:?}"),
                unusable(error.to_string(), &error),
            ));
        }
        Self::from_path(Path::new("/run/netns").join(name))
    }

    /// Runs `work` on a thread of its own in the namespace. Sockets that it opens stay there. Where there can be no thread,
    /// as for want of memory, the error says so.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Cause> {
        thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|errno| self.not_entered(errno))?;
                Ok::<T, Cause>(work())
            };
            let thread = thread::Builder::new().name("netns".into());
            let thread = thread.spawn_scoped(scope, inside).map_err(|error| {
                let reason = "there can be no thread for the network namespace";
                unusable(format!("{reason}: {error}"), &error)
            })?;
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn not_entered(&self, errno: Errno) -> Cause {
        let which = match &self.path {
            Some(path) => format!("network namespace {}", path.display()),
            None => "the network namespace".to_owned(),
        };
        let error = io::Error::from(errno);
        let needs = match errno {
            Errno::PERM => ": needs CAP_SYS_ADMIN",
            Errno::INVAL => ": it is no network namespace",
            _ => "",
        };
        unusable(format!("cannot enter {which}: {error}{needs}"), &error)
    }
}

fn unusable(reason: String, error: &io::Error) -> Cause {
    let errno = error.raw_os_error();
    Cause::Namespace { reason, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_errors_say_which_namespace() {
        for name in ["", ".", "..", "a/b", "/proc/1/ns/net"] {
            let error = NetworkNamespace::named(name).unwrap_err();
            let text = format!("open network namespace {name:?}: it takes a name");
            assert!(error.to_string().starts_with(&text), "{error}");
        }
        let error = NetworkNamespace::from_path("/nowhere/net").unwrap_err();
        assert!(error.to_string().contains("/nowhere/net"), "{error}");
        assert!(error.is_not_found() && error.errno() == Some(2));
        // A file of another kind.
        let namespace = NetworkNamespace::from_path("/dev/null").unwrap();
        let error = namespace.run(|| ()).unwrap_err().to_string();
        assert!(
            error.contains("cannot enter network namespace /dev/null: "),
            "{error}"
        );
    }
}
