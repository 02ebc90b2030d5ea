use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

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
}

impl NetworkNamespace {
    /// A namespace by the path of its file: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`Cause::Io`] when the file cannot be opened.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| {
            Error::new(
                format!("open network namespace {}", path.display()),
                Cause::Io(error),
            )
        })?;
        Ok(Self::from_fd(file.into()))
    }

    /// A namespace by its file, opened already. Another kind of file gives an error when a handle is opened.
    #[must_use]
    pub fn from_fd(file: OwnedFd) -> Self {
        Self {
            file: Arc::new(file),
        }
    }

    /// A namespace that `ip netns add` made.
    ///
    /// # Errors
    /// [`Cause::Io`] when there is none of the name.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::from_path(Path::new("/run/netns").join(name))
    }

    /// Runs `work` on a thread of its own in the namespace. Sockets that it opens stay there. Where there can be no thread,
    /// as for want of memory, the error says so.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Cause> {
        thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, io::Error>(work())
            };
            let thread = thread::Builder::new().name("netns".into());
            let thread = thread.spawn_scoped(scope, inside).map_err(no_thread)?;
            match thread.join() {
                Ok(done) => Ok(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn no_thread(error: io::Error) -> Cause {
    let text = format!("there can be no thread for the network namespace: {error}");
    Cause::Io(io::Error::new(error.kind(), text))
}
