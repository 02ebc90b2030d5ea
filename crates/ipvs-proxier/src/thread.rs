//! Threads that live for as long as what they serve. None of them can end unseen.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// A thread whose end must not go unnoticed.
#[derive(Debug)]
pub(crate) struct LastingThread {
    ended: Arc<OnceLock<String>>,
}

impl LastingThread {
    /// Starts `work`, which says why it ends. `at_end` runs after it, also where it panicked.
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce() -> String + Send + 'static,
        at_end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let ended = Arc::new(OnceLock::new());
        let reason = Arc::clone(&ended);
        let all = move || {
            // Nobody sees what a panic leaves behind: `work` owns it.
            let why = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|panic| format!("its thread panicked: {}", text(&*panic)));
            let _ = reason.set(why);
            at_end();
        };
        std::thread::Builder::new().name(name.into()).spawn(all)?;
        Ok(Self { ended })
    }

    /// Why it has ended; `None` as long as it runs.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whatever_ends_it_is_told() {
        let end_of = |work: fn() -> String| {
            let (sender, at_end) = channel();
            let at_end_of_it = move || sender.send(()).unwrap();
            let thread = LastingThread::start("work", work, at_end_of_it).unwrap();
            at_end.recv().unwrap();
            thread.ended().unwrap().to_owned()
        };
        assert_eq!(end_of(|| "done".to_owned()), "done");
        assert_eq!(end_of(|| panic!("no")), "its thread panicked: no");
        let words = end_of(|| panic!("no {}", 7));
        assert_eq!(words, "its thread panicked: no 7");
        let words = end_of(|| std::panic::panic_any(7));
        assert_eq!(words, "its thread panicked: no message");
    }

    #[test]
    fn it_has_not_ended_as_long_as_it_runs() {
        let (go, wait) = channel::<()>();
        let work = move || wait.recv().map_or("left alone", |()| "asked").to_owned();
        let (sender, at_end) = channel();
        let thread = LastingThread::start("work", work, move || sender.send(()).unwrap()).unwrap();
        assert_eq!(thread.ended(), None);
        drop(go);
        at_end.recv().unwrap();
        assert_eq!(thread.ended(), Some("left alone"));
    }
}
