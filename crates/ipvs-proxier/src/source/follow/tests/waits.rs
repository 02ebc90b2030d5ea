//! When something is asked for again, and what is logged meanwhile.

use std::sync::Arc;

use super::*;

/// 500 of them a second, once.
#[test]
fn watches_that_end_at_once_are_asked_for_less_and_less_often() {
    let bookmark =
        "{\"type\": \"BOOKMARK\", \"object\": {\"metadata\": {\"resourceVersion\": \"8\"}}}\n";
    for what in [json(""), json(bookmark), json("\n")] {
        let seen = follow(600.0, |number, _| match number {
            0 => list(&["a"], 7),
            _ => what.clone(),
        });
        let gaps = seen.gaps();
        for (gap, least) in gaps[1..].iter().zip([0.8, 1.6, 3.2, 5.0, 5.0]) {
            assert!((least..=2.0 * least).contains(gap), "{gaps:?}");
        }
        assert!(seen.calls.len() < 125, "{} calls", seen.calls.len());
        assert_eq!(seen.lists().len(), 1);
    }
    let seen = follow(600.0, |number, _| match number {
        0 => list(&["a"], 7),
        number => json(&event("MODIFIED", "a", 7 + u32::try_from(number).unwrap())),
    });
    assert!(
        seen.gaps()[1..].iter().all(|gap| *gap >= 0.8),
        "with news too"
    );
}

#[test]
fn nothing_is_asked_for_while_nothing_is_due() {
    let seen = follow(299.0, |number, _| match number {
        0 => list(&["a", "b"], 7),
        _ => watch(&[]),
    });
    assert_eq!(seen.calls.len(), 2, "{:?}", seen.calls);
    let watch = &seen.calls[1].1;
    assert!(watch.contains("&resourceVersion=7&"), "{watch}");
}

/// With and without a line end, and on a watch that goes on.
#[test]
fn watches_that_tell_nothing_readable_are_asked_for_less_and_less_often() {
    for garbled in [json("x\n"), json("x"), watch(&["x\n"])] {
        let seen = follow(600.0, |_, path| match path.contains("watch=true") {
            true => garbled.clone(),
            false => list(&["a"], 7),
        });
        // List and watch by turns: what follows a watch waits.
        let gaps: Vec<f64> = seen.gaps().into_iter().skip(1).step_by(2).collect();
        for (gap, least) in gaps.iter().zip([0.8, 1.6, 3.2, 5.0]) {
            assert!(*gap >= least, "{gaps:?}");
        }
        assert!(gaps.iter().all(|gap| *gap >= 0.8), "{gaps:?}");
        assert!(seen.calls.len() < 260, "{} calls", seen.calls.len());
    }
}

#[test]
fn who_is_not_known_asks_again_as_soon_as_the_credentials_change() {
    let act = |server: &Server<_>| {
        if server.calls.borrow().len() == 5 {
            server.changed.send_replace(());
        }
    };
    let seen = follow_and(
        60.0,
        |number, path| match number {
            0..5 => refused(401, ""),
            _ if path.contains("watch=true") => watch(&[]),
            _ => list(&["a"], 7),
        },
        act,
    );
    let gaps = seen.gaps();
    assert!(gaps[3] >= 5.0 && gaps[4] < 0.2, "{:?}", seen.calls);
    assert_eq!(seen.told(), ["+a", "listed"]);
}

#[test]
fn a_connection_that_breaks_is_made_again_soon_however_often_others_broke_before() {
    let mut broken = json(&event("MODIFIED", "a", 8));
    broken.parts.extend([Part::After(100.0), Part::Broken]);
    let seen = follow(3000.0, |number, _| match number {
        0 => list(&["a"], 7),
        _ => broken.clone(),
    });
    let gaps = seen.gaps();
    assert!(
        gaps[1..].iter().all(|gap| (100.8..=101.7).contains(gap)),
        "{gaps:?}"
    );
    assert_eq!(seen.lists().len(), 1, "it is resumed");
}

/// They change while the request is under way that is refused for the old ones.
#[test]
fn credentials_that_change_before_a_401_are_tried_at_once() {
    let seen = follow_and(
        60.0,
        |number, path| match number {
            0 => {
                let mut late = refused(401, "");
                late.parts.insert(0, Part::After(0.35));
                late
            }
            _ if path.contains("watch=true") => watch(&[]),
            _ => list(&["a"], 7),
        },
        |server| {
            // After the request was sent, and before it is answered.
            if server.calls.borrow().len() == 1 && server.start.elapsed().as_secs_f64() < 0.25 {
                server.changed.send_replace(());
            }
        },
    );
    let gaps = seen.gaps();
    assert!((0.3..0.4).contains(&gaps[0]), "{:?}", seen.calls);
}

/// Lines of the log while a follower follows.
fn logged(seconds: f64, reply: impl Fn(usize, &str) -> Reply) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        .with_writer(Arc::new(file.reopen().unwrap()))
        .finish();
    tracing::subscriber::with_default(log, || follow(seconds, reply));
    std::fs::read_to_string(file.path()).unwrap()
}

#[test]
fn what_is_wrong_is_logged_once_also_while_there_is_news() {
    let news = |number: usize| event("MODIFIED", "a", 7 + u32::try_from(number).unwrap());
    let short = logged(600.0, |number, _| match number {
        0 => list(&["a"], 7),
        number => json(&news(number)),
    });
    assert_eq!(short.lines().count(), 1, "{short}");
    let wanted = "INFO ipvs_proxier::source::follow: Nodes: watch: server http://10.0.0.1: the server ended it at once, again";
    assert!(short.contains(wanted), "{short}");
    // By turns, with news in between.
    let broken = logged(600.0, |number, _| match number {
        0 => list(&["a"], 7),
        number => {
            let mut broken = json(&news(number));
            if number % 2 == 0 {
                broken.parts.push(Part::Broken);
            }
            broken
        }
    });
    assert_eq!(broken.lines().count(), 2, "{broken}");
    // Over, and there again.
    let again = logged(600.0, |number, _| match number {
        0 => list(&["a"], 7),
        number => {
            let mut good = json(&news(number));
            good.parts.push(Part::After(60.0));
            good.parts.push(Part::Broken);
            good
        }
    });
    assert!((8..=11).contains(&again.lines().count()), "{again}");
    assert!(again.contains("WARN"), "{again}");
    // What is not answered has not gone well, however long it took.
    let silent = logged(3600.0, |number, _| match number {
        0 => list(&["a"], 7),
        _ => no_answer(),
    });
    assert_eq!(silent.lines().count(), 1, "{silent}");
    // One that ends as servers end.
    let ended = logged(600.0, |number, _| match number {
        0 => list(&["a"], 7),
        1 => json(""),
        _ => watch(&[]),
    });
    assert_eq!(ended, "");
}

#[test]
fn a_watch_that_tells_nothing_readable_is_told_once() {
    let seen = follow(600.0, |_, path| match path.contains("watch=true") {
        true => json("x\n"),
        false => list(&["a"], 7),
    });
    let told = seen.told();
    let problems = told.iter().filter(|told| told.contains("no event"));
    assert_eq!(problems.count(), 1, "{told:?}");
}
