use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Instant;

use tokio::task::{JoinHandle, spawn_local};

/// The connections of clients, over all listeners. There are never more than so many: for a new one the client that has most
/// of them loses the one that it has not used for longest. So whoever keeps many open only takes room from itself.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: RefCell<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    client: IpAddr,
    used: Used,
    task: JoinHandle<()>,
}

/// When a connection last asked for something.
#[derive(Debug, Clone)]
pub(super) struct Used(Rc<Cell<Instant>>);

impl Used {
    fn now() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }

    pub(super) fn again(&self) {
        self.0.set(Instant::now());
    }
}

impl Connections {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            open: RefCell::new(Vec::new()),
        }
    }

    /// Serves one more connection, after there is room for it. O(open connections).
    pub(super) async fn admit<F: Future<Output = ()> + 'static>(
        &self,
        client: IpAddr,
        serve: impl FnOnce(Used) -> F,
    ) {
        self.open
            .borrow_mut()
            .retain(|open| !open.task.is_finished());
        while self.open.borrow().len() >= self.most {
            self.close_one().await;
        }
        let used = Used::now();
        let task = spawn_local(serve(used.clone()));
        self.open.borrow_mut().push(Open {
            client: whom(client),
            used,
            task,
        });
    }

    /// Closes the connection that should make room for others, and its file with it.
    pub(super) async fn close_one(&self) {
        let Some(task) = self.take_one() else {
            return;
        };
        task.abort();
        // Its file is closed only when the task is gone.
        let _ = task.await;
    }

    fn take_one(&self) -> Option<JoinHandle<()>> {
        let mut open = self.open.borrow_mut();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for one in open.iter() {
            let count = counts.entry(one.client).or_default();
            *count = count.saturating_add(1);
        }
        let has = |one: &Open| counts.get(&one.client).copied().unwrap_or_default();
        let all = open.iter().enumerate();
        let last = all.max_by(|(_, a), (_, b)| {
            let by_use = b.used.0.get().cmp(&a.used.0.get());
            has(a).cmp(&has(b)).then(by_use)
        });
        let (index, _) = last?;
        Some(open.swap_remove(index).task)
    }
}

/// Addresses that count as one client: of IPv6 a whole /64 is given to one.
fn whom(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    /// Connections of these clients one after the other, of which never more than three are open; those that are open at
    /// the end. The first uses its connection before the last one comes.
    fn open_after(clients: &[&str]) -> Vec<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let open = Rc::new(RefCell::new(Vec::new()));
        let work = async {
            let connections = Connections::new(3);
            let mut first: Option<Used> = None;
            for (number, client) in clients.iter().enumerate() {
                if number + 1 == clients.len() {
                    first.iter().for_each(Used::again);
                }
                let guard = Guard(number, Rc::clone(&open));
                open.borrow_mut().push(number);
                let served = connections.admit(client.parse().unwrap(), |used| {
                    first.get_or_insert(used);
                    async move {
                        let _guard = guard;
                        std::future::pending::<()>().await;
                    }
                });
                served.await;
                // Clocks may stand still for a moment.
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(connections.open.borrow().len() <= 3);
            let mut open = open.borrow().clone();
            open.sort_unstable();
            open
        };
        LocalSet::new().block_on(&runtime.unwrap(), work)
    }

    struct Guard(usize, Rc<RefCell<Vec<usize>>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.1.borrow_mut().retain(|number| *number != self.0);
        }
    }

    #[test]
    fn who_has_most_connections_loses_the_one_that_rested_longest() {
        assert_eq!(open_after(&["10.0.0.1", "10.0.0.2"]), [0, 1]);
        let flood = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.2"];
        assert_eq!(open_after(&flood), [0, 3, 4]);
        let alone = ["10.0.0.1"; 4];
        assert_eq!(open_after(&alone), [0, 2, 3], "the first was used since");
        let a_network = ["10.0.0.1", "fd00::1", "fd00::2", "fd00::3"];
        assert_eq!(open_after(&a_network), [0, 2, 3]);
        let one_by_both_families = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.2", "10.0.0.3"];
        assert_eq!(open_after(&one_by_both_families), [0, 2, 3]);
    }
}
