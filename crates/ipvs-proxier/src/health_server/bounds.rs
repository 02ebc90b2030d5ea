use rustix::process::{Resource, getrlimit};

/// How many file descriptors serving may take, of those that the process may have. The rest is for the sync: clients whom
/// nobody knows must not keep it from opening a file or starting a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Connections of clients, over all addresses.
    pub(super) connections: usize,
    /// Sockets that listen.
    pub(super) listeners: usize,
}

const MOST_CONNECTIONS: usize = 512;
const LEAST: usize = 8;

impl Bounds {
    /// By the soft limit of this process for open files.
    pub(super) fn of_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current)
    }

    /// By a limit for open files; `None` is no limit. An eighth is for connections, half for listeners.
    fn of(limit: Option<u64>) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        Self {
            connections: (limit / 8).clamp(LEAST, MOST_CONNECTIONS),
            listeners: (limit / 2).max(LEAST),
        }
    }

    /// Why one is not listened on.
    pub(super) fn too_many_listeners(self) -> String {
        format!(
            "there are {} others, as many as this process may have: raise its limit of open files",
            self.listeners
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_eighths_of_the_files_are_left_for_the_sync() {
        let of = |limit| {
            let bounds = Bounds::of(limit);
            (bounds.connections, bounds.listeners)
        };
        assert_eq!(of(Some(256)), (32, 128));
        assert_eq!(of(Some(1 << 20)), (512, 1 << 19));
        assert_eq!(of(Some(0)), (8, 8));
        assert_eq!(of(None).0, 512);
    }
}
