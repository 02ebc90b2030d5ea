//! Watches: what an event, or a part of one, does.

use super::*;

#[test]
fn an_answer_that_stops_in_its_middle_is_given_up() {
    let whole = list(&["a"], 7);
    let Part::Bytes(text) = &whole.parts[0] else {
        unreachable!()
    };
    let half = Reply {
        parts: vec![Part::Bytes(text[..40].to_owned()), Part::Never],
        ..whole.clone()
    };
    let seen = follow(60.0, |number, path| match number {
        0 => half.clone(),
        _ if path.contains("watch=true") => watch(&[]),
        _ => whole.clone(),
    });
    assert!((30.8..=31.6).contains(&seen.gaps()[0]), "{:?}", seen.calls);
    assert_eq!(seen.told(), ["+a", "listed"]);
}

#[test]
fn an_answer_that_comes_drop_by_drop_has_an_end() {
    let drops = (0..100).flat_map(|_| [Part::Bytes(" ".to_owned()), Part::After(20.0)]);
    let slow = Reply {
        parts: drops.collect(),
        ..json("")
    };
    let seen = follow(400.0, |_, _| slow.clone());
    assert!(
        (300.8..=301.6).contains(&seen.gaps()[0]),
        "{:?}",
        seen.calls
    );
}

#[test]
fn a_watch_that_has_had_its_time_goes_on_at_once_and_one_that_was_forgotten_is_ended() {
    let mut ended = json("");
    ended.parts.push(Part::After(301.0));
    let seen = follow(3000.0, |number, _| match number {
        0 => list(&["a"], 7),
        1 => ended.clone(),
        _ => watch(&[]),
    });
    let gaps = seen.gaps();
    assert!((301.0..301.1).contains(&gaps[1]), "{gaps:?}");
    assert!(
        gaps[2..].iter().all(|gap| (330.0..=631.0).contains(gap)),
        "{gaps:?}"
    );
}

#[test]
fn an_event_that_cannot_be_used_neither_stops_nor_delays_the_others() {
    let bad = "{\"type\": \"MODIFIED\", \"object\": {\"metadata\": {\"name\": \"b\", \"resourceVersion\": \"9\"}, \"spec\": {\"podCIDRs\": 4}}}\n";
    let seen = follow(200.0, |number, _| match number {
        0 => list(&["a", "b"], 7),
        _ => watch(&[&event("ADDED", "c", 8), bad, &event("DELETED", "a", 10)]),
    });
    let told = seen.told();
    assert_eq!(told[..4], ["+a", "+b", "listed", "+c"]);
    assert!(
        told[4].starts_with("Node default/b: spec.podCIDRs: 4: invalid type"),
        "{told:?}"
    );
    assert_eq!(told[5..], ["-a"]);
    assert_eq!(seen.calls.len(), 2);
}

#[test]
fn after_bytes_that_are_no_event_the_watch_goes_on_until_everything_is_listed_anew() {
    let mut garbled = watch(&[&event("ADDED", "b", 8), "{\"type\": \n", "x\n"]);
    garbled.parts.insert(1, Part::After(0.5));
    garbled.parts.insert(2, Part::Bytes(event("ADDED", "c", 9)));
    let seen = follow(100.0, |number, _| match number {
        0 => list(&["a"], 7),
        1 => garbled.clone(),
        2 => list(&["a", "b", "c", "d"], 10),
        _ => watch(&[]),
    });
    let told = seen.told();
    assert_eq!(told[..3], ["+a", "listed", "+b"]);
    assert!(
        told[3].contains("no event") && told[3].contains("listing them anew"),
        "{told:?}"
    );
    assert_eq!(told[4..], ["+c", "+a", "+b", "+c", "+d", "listed"]);
    assert!((0.8..=1.6).contains(&seen.gaps()[1]), "{:?}", seen.calls);
}

/// A later event of the same watch has moved its version past what was lost.
#[test]
fn after_bytes_that_are_no_event_a_watch_that_breaks_is_not_resumed() {
    let mut broken = json(&["x\n", &event("ADDED", "c", 9)].concat());
    broken.parts.push(Part::Broken);
    let seen = follow(20.0, |number, _| match number {
        0 => list(&["a"], 7),
        1 => broken.clone(),
        2 => list(&["a", "b", "c"], 9),
        _ => watch(&[]),
    });
    assert_eq!(seen.lists().len(), 2, "{:?}", seen.calls);
    assert_eq!(seen.told().last().map(String::as_str), Some("listed"));
}

/// Bytes without a line end: none, or drop by drop.
#[test]
fn an_event_without_an_end_is_given_up() {
    let begin = event("ADDED", "b", 8);
    let begin = begin.trim_end();
    let mut stuck = watch(&[&event("ADDED", "c", 9), begin]);
    let drops = (0..100).flat_map(|_| [Part::After(20.0), Part::Bytes(" ".to_owned())]);
    let mut slow = stuck.clone();
    slow.parts.pop();
    slow.parts.extend(drops);
    stuck.parts.insert(0, Part::After(50.0));
    slow.parts.insert(0, Part::After(50.0));
    for endless in [stuck, slow] {
        let seen = follow(140.0, |number, _| match number {
            0 => list(&["a"], 7),
            1 => endless.clone(),
            _ => watch(&[]),
        });
        let gap = seen.gaps()[1];
        assert!((80.8..=81.6).contains(&gap), "{:?}", seen.calls);
        assert!(
            seen.calls[2].1.contains("resourceVersion=9&"),
            "{:?}",
            seen.calls
        );
        assert_eq!(seen.told(), ["+a", "listed", "+c"]);
    }
}

/// An event whose parts come late is one, if it is complete in time.
#[test]
fn an_event_may_come_in_parts() {
    let text = event("ADDED", "b", 8);
    let (start, end) = text.split_at(20);
    let mut parts = watch(&[]);
    parts.parts = [start, end].map(|part| Part::Bytes(part.to_owned())).into();
    parts.parts.insert(1, Part::After(29.0));
    parts.parts.push(Part::Never);
    let seen = follow(200.0, |number, _| match number {
        0 => list(&["a"], 7),
        _ => parts.clone(),
    });
    assert_eq!(seen.told(), ["+a", "listed", "+b"]);
    assert_eq!(seen.calls.len(), 2);
}
