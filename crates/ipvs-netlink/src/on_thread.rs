use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use crate::error::{Cause, Error};

type Job<H> = Box<dyn FnOnce(&mut H) + Send>;

/// A handle on a thread of its own, to be used from async code. Netlink to the kernel does not wait for a network: what
/// takes time is the kernel's work, under its locks, and that blocks a thread whatever the caller awaits. So this is no
/// other implementation, but the blocking one where it blocks nobody.
///
/// Jobs run one after the other in the order of the calls. Dropping the future of a call does not stop its job. The
/// thread ends when the last clone is dropped.
///
/// ```no_run
/// use ipvs_netlink::{Ipvs, OnThread};
///
/// # async fn f() -> Result<(), ipvs_netlink::Error> {
/// let ipvs = OnThread::open(Ipvs::open).await?;
/// let services = ipvs.run(Ipvs::services).await??;
/// println!("{} services", services.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OnThread<H> {
    jobs: Sender<Job<H>>,
}

impl<H> Clone for OnThread<H> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
        }
    }
}

impl<H: Send + 'static> OnThread<H> {
    /// Starts the thread and opens the handle there: in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What `open` fails with; [`Cause::Io`] when there can be no thread.
    pub async fn open(
        open: impl FnOnce() -> Result<H, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (jobs, queue) = channel::<Job<H>>();
        let (opened, answer) = oneshot::channel();
        let work = move || {
            let mut handle = match open() {
                Ok(handle) => handle,
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok(())).is_ok() {
                queue.into_iter().for_each(|job| job(&mut handle));
            }
        };
        thread::Builder::new()
            .name("ipvs-netlink".into())
            .spawn(work)
            .map_err(|error| Error::new("start a thread", Cause::Io(error)))?;
        answer.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { jobs })
    }

    /// Runs `work` with the handle and waits for its result.
    ///
    /// # Errors
    /// [`Cause::Closed`] when the thread has ended, which it does only when a job panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut H) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        let job = Box::new(move |handle: &mut H| {
            // Nobody waits any more: the work is done all the same.
            let _ = done.send(work(handle));
        });
        self.jobs.send(job).map_err(|_ended| gone())?;
        answer.await.map_err(|_ended| gone())
    }
}

fn gone() -> Error {
    Error::new("use the netlink thread", Cause::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_in_order_on_one_thread() {
        let counter = OnThread::open(|| Ok(0_u32)).await.unwrap();
        let again = counter.clone();
        for wanted in 1..=3 {
            let counted = again.run(|count| {
                *count += 1;
                *count
            });
            assert_eq!(counted.await.unwrap(), wanted);
        }
        assert_eq!(counter.run(|count| *count).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_fails_to_open_says_so_and_a_panic_is_an_error() {
        let refused = OnThread::<u32>::open(|| Err(Error::new("open", Cause::Lost))).await;
        assert_eq!(refused.unwrap_err().operation(), "open");
        let handle = OnThread::open(|| Ok(0_u32)).await.unwrap();
        let panicked: Result<(), Error> = handle.run(|_| panic!("a job that panics")).await;
        assert!(matches!(panicked.unwrap_err().cause(), Cause::Closed));
        assert!(handle.run(|count| *count).await.is_err());
    }
}
