//! What is logged of what is wrong with a kind of objects.

use tracing::Level;

use super::api::ApiError;

/// So many are remembered.
const REMEMBERED: usize = 16;

/// What was wrong since all was well last. Each of it is logged once until all is well again, however often it comes, and
/// whatever else comes in between.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    known: Vec<ApiError>,
    was_short: bool,
}

impl Complaints {
    /// At which level it is to be logged, if it is news.
    pub(super) fn news(&mut self, error: &ApiError) -> Option<Level> {
        // The first time is normal: a server that shuts down does this.
        if *error == ApiError::Short && !std::mem::replace(&mut self.was_short, true) {
            return Some(Level::DEBUG);
        }
        if self.known.contains(error) {
            return None;
        }
        self.known.truncate(REMEMBERED.saturating_sub(1));
        self.known.insert(0, error.clone());
        let is_usual = *error == ApiError::Short || error.is_expired();
        Some(if is_usual { Level::INFO } else { Level::WARN })
    }

    /// All is well.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_news_once_until_all_is_well() {
        let mut complaints = Complaints::default();
        let broken = ApiError::Io("connection reset".to_owned());
        let other = ApiError::Io("no route".to_owned());
        for _ in 0..2 {
            assert_eq!(complaints.news(&broken), Some(Level::WARN));
            assert_eq!(complaints.news(&other), Some(Level::WARN));
            for _ in 0..100 {
                assert_eq!(complaints.news(&broken), None);
                assert_eq!(complaints.news(&other), None);
            }
            complaints.over();
        }
    }

    #[test]
    fn a_watch_that_ends_at_once_matters_when_it_does_so_again() {
        let mut complaints = Complaints::default();
        let levels: Vec<_> = (0..100)
            .filter_map(|_| complaints.news(&ApiError::Short))
            .collect();
        assert_eq!(levels, [Level::DEBUG, Level::INFO]);
    }

    #[test]
    fn not_everything_is_remembered() {
        let mut complaints = Complaints::default();
        for number in 0..10_000 {
            let error = ApiError::Unreadable(number.to_string());
            assert_eq!(complaints.news(&error), Some(Level::WARN));
            assert!(complaints.known.len() <= REMEMBERED);
        }
    }
}
