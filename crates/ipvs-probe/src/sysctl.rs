use std::fs;
use std::io;
use std::path::PathBuf;

/// The sysctls below a folder: `/proc/sys`, or a tree that looks like it.
///
/// Those of `net` are of the network namespace of the thread that reads or writes them.
#[derive(Debug, Clone)]
pub struct Sysctls {
    root: PathBuf,
}

/// A sysctl that could not be read or written. Its text has the cause: it is no source besides, which would be said twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysctlError {
    /// It is not there, or not readable.
    #[error("cannot read sysctl {name}: {cause}")]
    Read {
        /// Its name, as `sysctl` prints it.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// It has another value and cannot be written.
    #[error(
        "sysctl {name} is {found}, needs to be {wanted}, and cannot be written ({cause}): set it with `sysctl -w {name}={wanted}`"
    )]
    Write {
        /// Its name, as `sysctl` prints it.
        name: String,
        /// Its value.
        found: String,
        /// The value that it needs.
        wanted: String,
        /// Why.
        cause: io::Error,
    },
}

impl Default for Sysctls {
    fn default() -> Self {
        Self::below("/proc/sys")
    }
}

impl Sysctls {
    /// The sysctls below a folder.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The value of a sysctl, named as in `net.ipv4.ip_forward`; `None` where the kernel has none of the name.
    ///
    /// # Errors
    /// [`SysctlError::Read`] when it is there and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<String>, SysctlError> {
        match fs::read_to_string(self.path(name)) {
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(SysctlError::Read {
                name: name.to_owned(),
                cause,
            }),
        }
    }

    /// Sets a sysctl if it has another value; tells whether it had.
    ///
    /// # Errors
    /// [`SysctlError`] when it is not there, or would have to be written and cannot be.
    ///
    /// ```
    /// use ipvs_probe::Sysctls;
    ///
    /// let tree = tempfile::tempdir()?;
    /// std::fs::create_dir_all(tree.path().join("net/ipv4"))?;
    /// std::fs::write(tree.path().join("net/ipv4/ip_forward"), "0\n")?;
    /// let sysctls = Sysctls::below(tree.path());
    /// assert!(sysctls.ensure("net.ipv4.ip_forward", "1")?);
    /// assert!(!sysctls.ensure("net.ipv4.ip_forward", "1")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure(&self, name: &str, wanted: &str) -> Result<bool, SysctlError> {
        let path = self.path(name);
        let found = fs::read_to_string(&path);
        let found = found
            .map_err(|cause| SysctlError::Read {
                name: name.to_owned(),
                cause,
            })?
            .trim()
            .to_owned();
        if found == wanted {
            return Ok(false);
        }
        let failed = |cause| SysctlError::Write {
            name: name.to_owned(),
            found,
            wanted: wanted.to_owned(),
            cause,
        };
        fs::write(path, wanted).map_err(failed).map(|()| true)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.replace('.', "/"))
    }
}
