use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How other threads reach one that runs a controller: signals stop it, sources wake it. A clone reaches the same one.
///
/// ```
/// use std::time::Duration;
/// use ipvs_proxier::Control;
///
/// let control = Control::new();
/// let signals = control.clone();
/// std::thread::spawn(move || signals.stop());
/// while !control.is_stopping() {
///     control.wait(Duration::from_secs(60));
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    stop: bool,
    reload: bool,
    wake: bool,
}

impl Control {
    /// Of a thread that nobody has asked for anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end. What is in the kernel stays.
    pub fn stop(&self) {
        self.ask(|asked| asked.stop = true);
    }

    /// Asks for the source and the kernel's state to be read again.
    pub fn reload(&self) {
        self.ask(|asked| asked.reload = true);
    }

    /// Something is new: a wait ends, now or when it begins.
    pub fn wake(&self) {
        self.ask(|asked| asked.wake = true);
    }

    /// What [wakes](Self::wake), for a source that does so from another thread.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let control = self.clone();
        move || control.wake()
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.asked().stop
    }

    /// Whether that was asked for since the last call.
    #[must_use]
    pub fn take_reload(&self) -> bool {
        std::mem::take(&mut self.asked().reload)
    }

    /// Waits until somebody asks for something, at most for so long. It may end earlier without a reason.
    pub fn wait(&self, at_most: Duration) {
        let mut asked = self.asked();
        if !(asked.stop || asked.reload || asked.wake) {
            let waited = self.0.changed.wait_timeout(asked, at_most);
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        asked.wake = false;
    }

    fn ask(&self, change: impl FnOnce(&mut Asked)) {
        change(&mut self.asked());
        self.0.changed.notify_all();
    }

    /// A flag is whole at any time, so that of a thread that panicked is as good.
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test may take: what waits so long was not woken.
    const FOR_EVER: Duration = Duration::MAX;

    #[test]
    fn whoever_was_woken_before_does_not_wait() {
        let control = Control::new();
        control.wake();
        control.wait(FOR_EVER);
        control.wait(Duration::ZERO);
        control.stop();
        control.wait(FOR_EVER);
        assert!(control.is_stopping());
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let control = Control::new();
        let other = control.clone();
        let thread = std::thread::spawn(move || other.reload());
        while !control.take_reload() {
            control.wait(FOR_EVER);
        }
        thread.join().unwrap();
        assert!(!control.take_reload(), "it is asked for once");
    }
}
