//! Reads credentials on a thread of its own: a server of files that is away keeps its readers for as long as it is.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::access::{Access, ClusterError};
use super::credentials::Credentials;

/// Files on a disk are read in milliseconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Has one read under way at most, so that reads which hang use one thread and not all of them.
#[derive(Debug, Default)]
pub(super) struct CredentialReader {
    running: Option<JoinHandle<Result<Credentials, ClusterError>>>,
}

impl CredentialReader {
    /// Reads everything that the access names. A read that takes too long goes on, and its result is that of a later call:
    /// whoever follows the files that were read learns whether they have changed since.
    ///
    /// # Errors
    /// [`ClusterError::Access`] when they cannot be used, or are not there after some seconds.
    pub(super) async fn read(&mut self, access: &Access) -> Result<Credentials, ClusterError> {
        let owned = access.clone();
        let work = move || Credentials::read(&owned);
        self.read_within(LONGEST, access, work).await
    }

    async fn read_within(
        &mut self,
        longest: Duration,
        access: &Access,
        work: impl FnOnce() -> Result<Credentials, ClusterError> + Send + 'static,
    ) -> Result<Credentials, ClusterError> {
        let job = self.running.get_or_insert_with(|| spawn_blocking(work));
        let Ok(result) = timeout(longest, job).await else {
            let seconds = longest.as_secs();
            return Err(access.wrong(format!(
                "it, or a file that it names, is not read after {seconds} s: does its file system answer?"
            )));
        };
        self.running = None;
        result.map_err(|error| access.unusable(&error))?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_read_that_hangs_is_reported_and_no_other_begins_until_it_ends() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let access = Access {
            master: Some("http://10.0.0.1".to_owned()),
            ..Access::default()
        };
        let mut reader = CredentialReader::default();
        let (release, hangs) = channel::<()>();
        let owned = access.clone();
        let work = move || {
            let _ = hangs.recv();
            Credentials::read(&owned)
        };
        let short = Duration::from_millis(10);
        runtime.block_on(async {
            let first = reader.read_within(short, &access, work).await;
            let told = first.unwrap_err().to_string();
            assert!(told.starts_with("server http://10.0.0.1: it, or"), "{told}");
            let other = || unreachable!("one read at a time");
            assert!(reader.read_within(short, &access, other).await.is_err());
            drop(release);
            let other = || unreachable!("the first read has a result");
            let late = reader.read_within(LONGEST * 12, &access, other).await;
            assert_eq!(late.unwrap().config.cluster_url, "http://10.0.0.1/");
            assert!(reader.read(&access).await.is_ok(), "a read of its own");
        });
    }
}
