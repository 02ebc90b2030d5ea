use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

/// Work that takes too long for the thread that serves, one job after the other on another thread.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Arc<Mutex<()>>,
}

impl Jobs {
    /// Does a job once those before it are done. Whoever stops waiting before it has begun takes it back; one that has begun
    /// goes on to its end.
    ///
    /// # Errors
    /// When the job panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.running).lock_owned().await;
        let job = move || {
            // The next one waits for this one, also where nobody waits for this one any more.
            let _turn = turn;
            job()
        };
        spawn_blocking(job).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::task::{Context, Waker};

    use super::*;

    fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context).is_pending()
    }

    /// A client that asks for metrics and closes its connection, again and again.
    #[test]
    fn nothing_is_done_for_a_client_that_went_away_while_it_waited() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build();
        let done = Arc::new(AtomicUsize::new(0));
        let count = || {
            let done = Arc::clone(&done);
            move || done.fetch_add(1, Ordering::SeqCst)
        };
        runtime.unwrap().block_on(async {
            let jobs = Jobs::default();
            let (go, told) = channel::<()>();
            let add = count();
            let mut first = Box::pin(jobs.run(move || {
                let _ = told.recv();
                add()
            }));
            assert!(is_pending(first.as_mut()));
            for _ in 0..100 {
                let mut waiting = Box::pin(jobs.run(count()));
                assert!(is_pending(waiting.as_mut()));
            }
            // The job that has begun goes on without its client, and the next one waits for it.
            drop(first);
            let mut last = Box::pin(jobs.run(count()));
            assert!(is_pending(last.as_mut()));
            drop(go);
            assert_eq!(last.await.unwrap(), 1, "the first came before it");
        });
        assert_eq!(done.load(Ordering::SeqCst), 2, "the first and the last");
    }

    #[test]
    fn a_job_that_panics_keeps_no_other_from_running() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let jobs = Jobs::default();
            let panicked = jobs.run(|| panic!("a fault")).await;
            assert!(panicked.is_err());
            assert_eq!(jobs.run(|| 1).await.unwrap(), 1);
        });
    }
}
