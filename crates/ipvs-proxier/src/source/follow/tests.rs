//! A server that does what it is told, and a clock that goes on when everybody waits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use futures_util::stream::unfold;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Response, StatusCode};
use ipvs_model::input::Change;
use tokio::time::timeout;

use super::super::api::Call;
use super::super::selection::Nodes;
use super::*;

/// What the server does next with an answer.
#[derive(Clone)]
enum Part {
    Bytes(String),
    After(f64),
    Never,
    Broken,
}

#[derive(Clone)]
struct Reply {
    status: u16,
    content: &'static str,
    parts: Vec<Part>,
}

fn json(text: &str) -> Reply {
    Reply {
        status: 200,
        content: "application/json",
        parts: vec![Part::Bytes(text.to_owned())],
    }
}

fn refused(status: u16, more: &str) -> Reply {
    let text =
        format!(r#"{{"kind": "Status", "code": {status}, "reason": "R", "message": "no"{more}}}"#);
    Reply {
        status,
        ..json(&text)
    }
}

/// None, after longer than a watch must go well for.
fn no_answer() -> Reply {
    Reply {
        status: 0,
        ..json("")
    }
}

/// A watch that tells this, and goes on.
fn watch(lines: &[&str]) -> Reply {
    let mut reply = json(&lines.concat());
    reply.parts.push(Part::Never);
    reply
}

fn list(names: &[&str], version: u32) -> Reply {
    let items: Vec<String> = names
        .iter()
        .map(|name| format!(r#"{{"metadata": {{"name": "{name}"}}}}"#))
        .collect();
    json(&format!(
        r#"{{"kind": "NodeList", "metadata": {{"resourceVersion": "{version}"}}, "items": [{}]}}"#,
        items.join(",")
    ))
}

fn event(what: &str, name: &str, version: u32) -> String {
    format!(
        "{{\"type\": \"{what}\", \"object\": {{\"kind\": \"Node\", \"metadata\": {{\"name\": \"{name}\", \"resourceVersion\": \"{version}\"}}}}}}\n"
    )
}

struct Server<F> {
    reply: F,
    start: Instant,
    calls: RefCell<Vec<(f64, String)>>,
    changed: watch::Sender<()>,
}

impl<F: Fn(usize, &str) -> Reply> Api for Server<F> {
    async fn send(&self, call: Call) -> Result<Answer, ApiError> {
        let number = self.calls.borrow().len();
        let at = self.start.elapsed().as_secs_f64();
        self.calls.borrow_mut().push((at, call.path.clone()));
        let reply = (self.reply)(number, &call.path);
        if reply.status == 0 {
            sleep(GOOD * 2).await;
            return Err(ApiError::Unreadable("no answer".to_owned()));
        }
        let body = unfold(reply.parts.into_iter(), |mut parts| async {
            loop {
                match parts.next()? {
                    Part::Bytes(text) => {
                        return Some((Ok(Frame::data(Bytes::from(text))), parts));
                    }
                    Part::After(seconds) => sleep(Duration::from_secs_f64(seconds)).await,
                    Part::Never => std::future::pending().await,
                    Part::Broken => return Some((Err("connection reset".into()), parts)),
                }
            }
        });
        let response = Response::builder()
            .status(StatusCode::from_u16(reply.status).unwrap())
            .header("content-type", reply.content)
            .body(StreamBody::new(body).boxed_unsync());
        Answer::of(response.unwrap()).await
    }

    fn credentials(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn about(&self, _: &ApiError) -> String {
        "server http://10.0.0.1".to_owned()
    }
}

/// What became of it.
struct Seen {
    /// Seconds, and what was asked for.
    calls: Vec<(f64, String)>,
    said: Receiver<Said>,
}

impl Seen {
    fn told(&self) -> Vec<String> {
        let tell = |said| match said {
            Said::Change(change, _) => match *change {
                Change::Node(node) => format!("+{}", node.name),
                Change::NodeGone(name) => format!("-{name}"),
                other => format!("{other:?}"),
            },
            Said::Listed(_) => "listed".to_owned(),
            Said::Problem(problem) => problem,
            Said::Credentials(problem) => format!("{problem:?}"),
        };
        self.said.try_iter().map(tell).collect()
    }

    /// Seconds between one call and the next.
    fn gaps(&self) -> Vec<f64> {
        let pairs = self.calls.windows(2);
        let milliseconds = |pair: &[(f64, String)]| ((pair[1].0 - pair[0].0) * 1e3).round();
        pairs.map(|pair| milliseconds(pair) / 1e3).collect()
    }

    fn lists(&self) -> Vec<&str> {
        let paths = self.calls.iter().map(|(_, path)| path.as_str());
        paths.filter(|path| !path.contains("watch=true")).collect()
    }
}

/// Follows for some seconds of a clock that nobody waits for.
fn follow(seconds: f64, reply: impl Fn(usize, &str) -> Reply) -> Seen {
    follow_and(seconds, reply, |_| {})
}

fn follow_and<F: Fn(usize, &str) -> Reply>(
    seconds: f64,
    reply: F,
    act: impl Fn(&Server<F>),
) -> Seen {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let (sender, said) = channel();
    let calls = runtime.block_on(async {
        let wake = Arc::new(|| {});
        let reporter = Reporter { sender, wake };
        let server = Server {
            reply,
            start: Instant::now(),
            calls: RefCell::default(),
            changed: watch::Sender::new(()),
        };
        let follower = Follower::new(&server, Selection::nodes(Nodes::All), &reporter);
        let end = Duration::from_secs_f64(seconds);
        let acting = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                act(&server);
            }
        };
        let both = select(Box::pin(follower.run()), Box::pin(acting));
        assert!(timeout(end, both).await.is_err(), "it goes on for ever");
        server.calls.into_inner()
    });
    Seen { calls, said }
}

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
fn nothing_is_asked_for_while_nothing_is_due() {
    let seen = follow(299.0, |number, _| match number {
        0 => list(&["a", "b"], 7),
        _ => watch(&[]),
    });
    assert_eq!(seen.calls.len(), 2, "{:?}", seen.calls);
    let watch = &seen.calls[1].1;
    assert!(watch.contains("&resourceVersion=7&"), "{watch}");
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
    }
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
