//! Follows the objects of one kind: lists them, watches them, and lists them again where a watch cannot go on.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Level, debug, info, warn};

use super::api::{ANSWER, Answer, Api, ApiError, Call, in_future};
use super::back_off::BackOff;
use super::complaints::Complaints;
use super::list_reader::ListReader;
use super::objects::Objects;
use super::pages::Pages;
use super::reporter::{Reporter, Said};
use super::selection::{Age, Selection};
use super::watch_reader::{WatchEvent, WatchReader};

/// A watch that has lived so long is a good one: the next one begins at once.
const GOOD: Duration = Duration::from_secs(10);
/// How long a watch is asked for, as client-go does: by chance up to twice that, so that not all end together.
const WATCH_SECONDS: u64 = 300;
/// A server that does not end its watch then has forgotten it.
const GRACE: Duration = Duration::from_secs(30);

/// One kind of objects.
pub(super) struct Follower<'a, A> {
    api: &'a A,
    reporter: &'a Reporter,
    selection: Selection,
    objects: Objects,
    back_off: BackOff,
    /// Up to which everything is known, since the first list.
    version: Option<String>,
    /// What the next list is to be, if one is due.
    list: Option<Age>,
    complaints: Complaints,
    /// Tells when the credentials may be other ones than those of the last request.
    credentials: watch::Receiver<()>,
}

impl<'a, A: Api> Follower<'a, A> {
    pub(super) fn new(api: &'a A, selection: Selection, reporter: &'a Reporter) -> Self {
        Self {
            api,
            reporter,
            objects: Objects::new(selection.kind),
            selection,
            back_off: BackOff::default(),
            version: None,
            list: Some(Age::Newest),
            complaints: Complaints::default(),
            credentials: api.credentials(),
        }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) -> String {
        let mut moves = self.api.moves();
        loop {
            let moved = {
                let following = pin!(self.follow());
                let moved = pin!(moves.changed());
                match select(following, moved).await {
                    Either::Left((why, _)) => match why {},
                    Either::Right((moved, _)) => moved,
                }
            };
            if moved.is_err() {
                return "its server is no longer known".to_owned();
            }
            // Whatever was under way is of no use, nor is the version.
            self.version = None;
            self.list = Some(Age::Newest);
            self.back_off.reset();
            self.complaints.over();
        }
    }

    /// Follows one server.
    async fn follow(&mut self) -> Infallible {
        loop {
            let (doing, result) = match (self.list.clone(), self.version.clone()) {
                (None, Some(version)) => ("watch", self.watch(version).await),
                (age, _) => {
                    let age = age.unwrap_or(Age::Newest);
                    let result = self.list(&age).await;
                    if let Err(error) = &result {
                        if self.asks_for_more(error) {
                            continue;
                        }
                        self.objects.fail_list(error, self.reporter);
                    }
                    self.list = result.as_ref().err().map(|error| next_age(age, error));
                    ("list", result)
                }
            };
            if let Err(error) = result {
                self.wait(doing, error).await;
            }
        }
    }

    async fn list(&mut self, age: &Age) -> Result<(), ApiError> {
        self.objects.begin_list();
        let mut pages = Pages::default();
        let version = loop {
            let call = self.selection.list(age, pages.next());
            let mut answer = self.send(call).await?;
            let mut reader = ListReader::new(self.selection.kind);
            while let Some(bytes) = answer.next_in_time().await? {
                for object in reader.push(&bytes)? {
                    self.objects.list(object, self.reporter)?;
                }
                self.reporter.room().await;
            }
            let end = reader.finish()?;
            for object in end.objects {
                self.objects.list(object, self.reporter)?;
            }
            match (end.next, end.version) {
                (Some(next), _) => pages.turn(next, self.objects.listed())?,
                (None, Some(version)) => break version,
                (None, None) => {
                    return Err(ApiError::Unreadable("the list has no version".to_owned()));
                }
            }
        };
        self.objects.end_list(self.reporter);
        self.version = Some(version);
        Ok(())
    }

    async fn send(&mut self, call: Call) -> Result<Answer, ApiError> {
        // Whatever changes from now on may have changed after this request was made.
        self.credentials.mark_unchanged();
        self.api.send(call).await
    }

    /// Whether the server is too old to select what is needed, and can be asked for more.
    fn asks_for_more(&mut self, error: &ApiError) -> bool {
        let more = self.selection.more().filter(|_| error.code() == Some(400));
        let Some(more) = more else {
            return false;
        };
        info!(
            "{}s: {error}; asking for more of them",
            self.selection.kind.name()
        );
        self.selection = more;
        true
    }

    /// Takes what happens until the watch ends. An end after a good time is none that has to be waited for.
    async fn watch(&mut self, version: String) -> Result<(), ApiError> {
        let chance = Duration::from_secs(fastrand::u64(0..WATCH_SECONDS));
        let time = Duration::from_secs(WATCH_SECONDS).saturating_add(chance);
        let answer = self.send(self.selection.watch(&version, time)).await;
        // One that was not answered was no watch, however long that took.
        let begin = answer.is_ok().then(Instant::now);
        let mut heard = Heard::default();
        let result = match answer {
            Ok(answer) => {
                self.hear(answer, in_future(time.saturating_add(GRACE)), &mut heard)
                    .await
            }
            Err(error) => Err(error),
        };
        let is_good = begin.is_some_and(|begin| begin.elapsed() >= GOOD);
        if is_good || heard.events {
            self.back_off.reset();
        }
        if is_good {
            self.complaints.over();
        }
        // A cache that has forgotten the version is newer, and a server that refuses the version for another reason may do so
        // for ever. What could not be read is missing however the watch ended.
        let refuses_version = |error: &ApiError| error.code().is_some() && !error.is_of_asker();
        if heard.is_list_due || result.as_ref().is_err_and(refuses_version) {
            self.list = Some(self.not_older());
        }
        match result {
            Ok(()) if is_good || heard.has_waited => Ok(()),
            Ok(()) => Err(ApiError::Short),
            error => error,
        }
    }

    fn not_older(&self) -> Age {
        self.version.clone().map_or(Age::Newest, Age::NotOlderThan)
    }

    async fn hear(
        &mut self,
        mut answer: Answer,
        end: Instant,
        heard: &mut Heard,
    ) -> Result<(), ApiError> {
        let mut reader = WatchReader::new(self.selection.kind);
        let mut until = end;
        // By when an event has to be complete that has begun.
        let mut whole: Option<Instant> = None;
        loop {
            let next = whole.map_or(until, |whole| whole.min(until));
            let bytes = match timeout_at(next, answer.next()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(error),
                Err(_) if next != until => {
                    let seconds = ANSWER.as_secs();
                    return Err(ApiError::Unreadable(format!(
                        "an event of the watch has begun, and is not complete after {seconds} s"
                    )));
                }
                Err(_) => {
                    heard.has_waited = true;
                    return Ok(());
                }
            };
            let events = reader.push(&bytes);
            whole = match whole {
                _ if !reader.is_within_event() => None,
                Some(whole) if events.is_empty() => Some(whole),
                _ => Some(in_future(ANSWER)),
            };
            for event in events {
                self.take(event, heard)?;
            }
            self.reporter.room().await;
            if heard.is_list_due && until == end {
                // The others go on meanwhile.
                until = end.min(in_future(self.back_off.next(fastrand::f64())));
            }
        }
        match reader.finish() {
            Some(event) => self.take(event, heard),
            None => Ok(()),
        }
    }

    fn take(&mut self, event: WatchEvent, heard: &mut Heard) -> Result<(), ApiError> {
        match event {
            WatchEvent::Put(object) => {
                let version = object.version.clone();
                if let Err(error) = self.objects.put(*object, self.reporter) {
                    // The list that is due refuses them, or has found that there are fewer.
                    heard.is_list_due = true;
                    heard.events = false;
                    return Err(error);
                }
                heard.events = true;
                self.version = version.or_else(|| self.version.take());
            }
            WatchEvent::Gone { name, version } => {
                heard.events = true;
                self.version = version.or_else(|| self.version.take());
                self.objects.remove(name, self.reporter);
            }
            WatchEvent::Bookmark(version) => self.version = Some(version),
            WatchEvent::Refused(refusal) => return Err(ApiError::Refused(refusal)),
            WatchEvent::Unreadable(problem) => {
                // Nobody knows what it should have told. Once for each watch: one that tells nothing else could fill the log.
                let error = ApiError::Unreadable(format!("{problem}; listing them anew"));
                if !heard.is_list_due && self.complaints.news(&error).is_some() {
                    self.reporter.say(Said::Problem(error.to_string()));
                }
                heard.is_list_due = true;
            }
        }
        Ok(())
    }

    /// Logs an error once, and waits until it is worth while to try again.
    async fn wait(&mut self, doing: &str, error: ApiError) {
        let wait = self.back_off.wait(&error, fastrand::f64());
        let kind = self.selection.kind.name();
        let place = format!("{kind}s: {doing}: {}", self.api.about(&error));
        match self.complaints.news(&error) {
            None => {}
            Some(_) if error.is_expired() => info!("{place}: {error}; listing them anew"),
            Some(Level::WARN) => warn!("{place}: {error}; retry with back-off"),
            Some(Level::INFO) => info!("{place}: {error}, again; retry with back-off"),
            Some(_) => debug!("{place}: {error}; retry with back-off"),
        }
        let is_unknown = matches!(error, ApiError::Access(_)) || error.code() == Some(401);
        let pause = Box::pin(sleep(wait));
        if is_unknown {
            let change = Box::pin(self.credentials.changed());
            // Whatever ends it: an API that is gone wakes nobody any more, and the next request says so.
            match select(pause, change).await {
                Either::Left(_) => {}
                Either::Right((Ok(()), _)) => {}
                Either::Right((Err(_gone), pause)) => pause.await,
            }
        } else {
            pause.await;
        }
    }
}

/// What is to be listed after a list that failed.
fn next_age(age: Age, error: &ApiError) -> Age {
    match (age, error) {
        // It is not the list that is wrong.
        (age, ApiError::Io(_) | ApiError::Tls(_) | ApiError::Access(_)) => age,
        (age, error) if error.is_of_asker() => age,
        (Age::Newest, error) if error.is_expired() => Age::NewestAtOnce,
        // A server that is behind its own database, or too slow for all at once.
        _ => Age::Newest,
    }
}

/// What a watch has told.
#[derive(Debug, Default)]
struct Heard {
    events: bool,
    /// Whether it told something that cannot be read.
    is_list_due: bool,
    /// Whether it went on until its time was over, or until the list was due that it made necessary.
    has_waited: bool,
}

#[cfg(test)]
mod tests;
