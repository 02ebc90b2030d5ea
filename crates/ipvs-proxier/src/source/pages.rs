//! The pages of one list, which have to come to an end.

use super::api::ApiError;

/// Pages of one list at most. They hold 1,000,000 objects, many times what one cluster can have of a kind.
const LONGEST: u32 = 4000;
/// So many pages, one after the other, may have nothing new: a server may cut pages before it selects.
const WITHOUT_NEWS: u32 = 100;

/// Which page of a list is to be asked for.
#[derive(Debug, Default)]
pub(super) struct Pages {
    next: Option<String>,
    read: u32,
    without_news: u32,
    objects: usize,
}

impl Pages {
    /// What the next page is asked for by; nothing for the first one.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// A page was read, and another one follows. `objects` says how many the list has had so far.
    ///
    /// # Errors
    /// When the pages lead nowhere: to be followed without a pause they have to bring something, and to end.
    pub(super) fn turn(&mut self, next: String, objects: usize) -> Result<(), ApiError> {
        self.read = self.read.saturating_add(1);
        self.without_news = if objects > self.objects {
            0
        } else {
            self.without_news.saturating_add(1)
        };
        self.objects = objects;
        let wrong = |problem: String| Err(ApiError::Unreadable(problem));
        if self.next.as_ref() == Some(&next) {
            return wrong("a page of the list leads to itself".to_owned());
        }
        if self.without_news >= WITHOUT_NEWS {
            return wrong(format!(
                "the list does not end: its last {WITHOUT_NEWS} pages had no new object"
            ));
        }
        if self.read >= LONGEST {
            return wrong(format!(
                "the list does not end: it has more than {LONGEST} pages"
            ));
        }
        self.next = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_after(token: impl Fn(u32) -> u32, objects: impl Fn(u32) -> u32) -> (u32, String) {
        let mut pages = Pages::default();
        let refused = (1..).find_map(|number| {
            let next = format!("page {}", token(number));
            let objects = usize::try_from(objects(number)).unwrap();
            Some((number, pages.turn(next, objects).err()?.to_string()))
        });
        refused.unwrap()
    }

    #[test]
    fn pages_that_lead_nowhere_are_refused() {
        let (read, problem) = refused_after(|_| 7, |number| number);
        assert_eq!((read, problem.contains("leads to itself")), (2, true));
        for token in [|number| number, |number| number % 2] {
            let (read, problem) = refused_after(token, |number| number.min(5));
            assert_eq!(read, 5 + WITHOUT_NEWS, "{problem}");
            assert!(problem.contains("had no new object"), "{problem}");
        }
        let (read, problem) = refused_after(|number| number, |number| number);
        assert_eq!(read, LONGEST);
        assert!(problem.contains("more than 4000 pages"), "{problem}");
    }

    #[test]
    fn a_page_may_have_nothing() {
        let mut pages = Pages::default();
        for number in 1..LONGEST {
            let objects = usize::try_from(number / (WITHOUT_NEWS - 1)).unwrap();
            assert_eq!(pages.turn(number.to_string(), objects), Ok(()));
        }
    }
}
