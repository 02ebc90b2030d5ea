use std::fmt;

/// A process that holds a lock which is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its number.
    pub process: u32,
    /// Its name; `None` if it has ended, and what it started has the lock.
    pub name: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "process {} ({})", self.process, name.escape_default()),
            None => write!(f, "what process {} has started", self.process),
        }
    }
}
