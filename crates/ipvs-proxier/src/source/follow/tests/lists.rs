//! Lists: whole ones, halves, pages, and when another one is due.

use std::cell::Cell;

use super::*;

#[test]
fn an_answer_of_another_kind_changes_nothing() {
    let pods = json(
        r#"{"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "x"}}]}"#,
    );
    let html = Reply {
        content: "text/html",
        ..json("<html>sign in</html>")
    };
    let empty = json("{}");
    let unknown = json("<html>");
    for wrong in [pods, html, empty, unknown] {
        let seen = follow(20.0, |number, _| match number {
            0 => list(&["a"], 7),
            1 => refused(410, ""),
            2 => wrong.clone(),
            3 => list(&["a"], 11),
            _ => watch(&[]),
        });
        assert_eq!(seen.told(), ["+a", "listed", "+a", "listed"]);
        let [shown, none] = seen.unusable()[..] else {
            unreachable!("{:?}", seen.unusable())
        };
        assert!(
            shown[0].starts_with("Node: list: the answer is "),
            "{shown:?}"
        );
        assert_eq!(
            (shown.len(), none.len()),
            (1, 0),
            "until a list can be used"
        );
    }
}

/// Names that nobody has seen before, page by page, or event by event.
#[test]
fn a_list_or_a_watch_of_ever_new_objects_has_an_end() {
    let name = |number: usize| format!("{number}-{}", "x".repeat(1 << 20));
    let bound = 64;
    let pages = follow(20.0, |number, _| {
        let mut page = list(&[&name(number)], 7);
        let Part::Bytes(text) = &mut page.parts[0] else {
            unreachable!()
        };
        *text = text.replace("\"7\"", &format!("\"7\", \"continue\": \"{number}\""));
        page
    });
    let gaps = pages.gaps();
    let first = gaps.iter().position(|gap| *gap > 0.0).unwrap();
    assert!((bound / 2..=bound).contains(&first), "{first}");
    let shown = pages.unusable();
    assert_eq!(shown.len(), 1, "{}", shown.len());
    assert!(
        shown[0][0].contains("more than 64 MiB of memory"),
        "{shown:?}"
    );
    let told = pages.told();
    let count = |sign| told.iter().filter(|told| told.starts_with(sign)).count();
    // The next list waits: nobody takes what was said.
    let all = first..=first + 1;
    assert!(
        count('-') == first && all.contains(&count('+')),
        "what was new goes again"
    );

    let events: Vec<String> = (0..100)
        .map(|number| event("ADDED", &name(number), 8))
        .collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let endless = watch(&events);
    let watched = follow(2.0, |_, path| match path.contains("watch=true") {
        true => endless.clone(),
        false => list(&["a"], 7),
    });
    let told = watched.told();
    let new = told.iter().take_while(|told| !told.starts_with('-'));
    let new = new.count();
    assert!((bound / 2..bound + 4).contains(&new), "{new}");
    assert!(watched.lists().len() > 1, "listed anew");
}

#[test]
fn half_a_list_takes_nothing_away() {
    let mut half = list(&["a"], 9);
    half.parts = vec![
        Part::Bytes(
            r#"{"kind": "NodeList", "metadata": {}, "items": [{"metadata": {"name": "a"}},"#
                .to_owned(),
        ),
        Part::Broken,
    ];
    let seen = follow(20.0, |number, _| match number {
        0 => list(&["a", "b"], 7),
        1 => refused(410, ""),
        2 => half.clone(),
        3 => list(&["a"], 11),
        _ => watch(&[]),
    });
    assert_eq!(
        seen.told(),
        ["+a", "+b", "listed", "+a", "+a", "-b", "listed"]
    );
}

#[test]
fn after_410_the_cache_is_asked_and_the_newest_where_that_will_not_do() {
    let too_large = r#", "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 3}"#;
    let expired = "{\"type\": \"ERROR\", \"object\": {\"kind\": \"Status\", \"code\": 410, \"reason\": \"Expired\"}}\n";
    let seen = follow(60.0, |number, _| match number {
        0 => list(&["a"], 7),
        1 => watch(&[&event("ADDED", "b", 8), expired]),
        2 => refused(504, too_large),
        3 => list(&["b"], 9),
        _ => watch(&[]),
    });
    let lists = seen.lists();
    assert!(lists[0].ends_with("limit=250"), "{lists:?}");
    let cached = "resourceVersion=8&resourceVersionMatch=NotOlderThan";
    assert!(lists[1].ends_with(cached), "{lists:?}");
    assert_eq!(lists[2], lists[0]);
    assert!(
        seen.gaps()[2] >= 3.0,
        "as the server asks: {:?}",
        seen.calls
    );
    assert_eq!(seen.told(), ["+a", "listed", "+b", "+b", "-a", "listed"]);
}

#[test]
fn after_a_watch_that_is_refused_everything_is_listed_anew() {
    let error = "{\"type\": \"ERROR\", \"object\": {\"kind\": \"Status\", \"code\": 500, \"reason\": \"R\"}}\n";
    let too_large = r#", "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}"#;
    for wrong in [
        refused(500, ""),
        refused(400, ""),
        refused(504, too_large),
        json(error),
    ] {
        let seen = follow(60.0, |number, path| match number {
            0 => list(&["a"], 1000),
            _ if path.contains("resourceVersion=1000") && path.contains("watch=true") => {
                wrong.clone()
            }
            _ if path.contains("watch=true") => watch(&[]),
            _ => list(&["b"], 50),
        });
        assert_eq!(
            seen.told(),
            ["+a", "listed", "+b", "-a", "listed"],
            "{:?}",
            seen.calls
        );
        assert_eq!(seen.calls.len(), 4, "{:?}", seen.calls);
    }
    // One that is asked too much is not asked for more.
    for code in [401, 403, 429] {
        let seen = follow(60.0, |number, _| match number {
            0 => list(&["a"], 7),
            1..4 => refused(code, ""),
            _ => watch(&[]),
        });
        assert_eq!(seen.lists().len(), 1, "{:?}", seen.calls);
    }
}

#[test]
fn pages_that_expire_are_read_at_once() {
    let page = |next: &str, name: &str| {
        json(&format!(
            r#"{{"kind": "NodeList", "metadata": {{"resourceVersion": "7", "continue": "{next}"}}, "items": [{{"metadata": {{"name": "{name}"}}}}]}}"#
        ))
    };
    let seen = follow(30.0, |number, _| match number {
        0 => page("x", "a"),
        1 => refused(410, ""),
        2 => page("", "b"),
        _ => watch(&[]),
    });
    let lists = seen.lists();
    assert!(lists[1].ends_with("limit=250&continue=x"), "{lists:?}");
    assert_eq!(lists[2], "/api/v1/nodes?");
    assert_eq!(seen.told(), ["+a", "+b", "-a", "listed"]);
    let seen = follow(30.0, |number, _| {
        if number == 0 {
            page("x", "a")
        } else {
            page("x", "b")
        }
    });
    assert!(
        seen.calls.len() < 30,
        "a page that leads to itself: {:?}",
        seen.calls
    );
}

/// A server, or something between, that gives tokens without end: each new, the same again, or two by turns.
#[test]
fn pages_without_an_end_are_asked_for_less_and_less_often() {
    let page = |next: usize| {
        json(&format!(
            r#"{{"kind": "NodeList", "metadata": {{"resourceVersion": "7", "continue": "t{next}"}}, "items": [{{"metadata": {{"name": "a"}}}}]}}"#
        ))
    };
    for token in [|number| number, |_| 7, |number| number % 2] {
        let seen = follow(600.0, |number, _| page(token(number)));
        let starts: Vec<f64> = seen
            .calls
            .iter()
            .filter(|(_, path)| !path.contains("continue="))
            .map(|(at, _)| *at)
            .collect();
        let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[3..].iter().all(|gap| *gap >= 5.0), "{gaps:?}");
        let each = seen.calls.len() / starts.len();
        assert!(each <= 110, "{each} pages of each list");
        assert!(!seen.told().contains(&"listed".to_owned()));
    }
}

#[test]
fn pages_with_nothing_in_between_are_followed_to_the_end() {
    let page = |next: &str, items: &str| {
        json(&format!(
            r#"{{"kind": "NodeList", "metadata": {{"resourceVersion": "7", "continue": "{next}"}}, "items": [{items}]}}"#
        ))
    };
    let seen = follow(5.0, |number, path| match number {
        0..50 => page(&format!("t{number}"), ""),
        50 => page("", r#"{"metadata": {"name": "a"}}"#),
        _ => {
            assert!(path.contains("watch=true"));
            watch(&[])
        }
    });
    assert_eq!(seen.told(), ["+a", "listed"]);
}

#[test]
fn at_another_server_everything_is_listed_anew_whatever_is_under_way() {
    let mut half = json(
        "{\"kind\": \"NodeList\", \"items\": [{\"metadata\": {\"name\": \"a\"}}, {\"metadata\": ",
    );
    half.parts.push(Part::Never);
    let whole = || list(&["a"], 1000);
    for (first, next, before) in [
        (whole(), watch(&[]), vec!["+a", "listed"]),
        (half, watch(&[]), vec!["+a"]),
        (whole(), refused(500, ""), vec!["+a", "listed"]),
        (whole(), no_answer(), vec!["+a", "listed"]),
    ] {
        let has_moved = Cell::new(false);
        let reply = |number, path: &str| match (has_moved.get(), number) {
            (true, _) if path.contains("watch=true") => watch(&[]),
            (true, _) => list(&["b"], 50),
            (false, 0) => first.clone(),
            (false, _) => next.clone(),
        };
        let act = |server: &Server<_>| {
            let is_time = server.start.elapsed() >= Duration::from_secs(5);
            if is_time && !has_moved.replace(true) {
                server.moved.send_replace(());
            }
        };
        let seen = follow_and(60.0, reply, act);
        let after: Vec<_> = seen.calls.iter().filter(|(at, _)| *at >= 5.0).collect();
        let [(at, list), (_, watch)] = after[..] else {
            panic!("{:?}", seen.calls)
        };
        assert!(*at < 5.2 && !list.contains("resourceVersion"), "{after:?}");
        assert!(watch.contains("resourceVersion=50"), "{after:?}");
        let told = [before, vec!["+b", "-a", "listed"]].concat();
        assert_eq!(seen.told(), told);
    }
}
