//! A server that does what it is told, and a clock that goes on when everybody waits.

mod lists;
mod waits;
mod watches;

use std::cell::RefCell;

use futures_util::stream::unfold;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Response, StatusCode};
use ipvs_model::input::Change;
use tokio::time::timeout;

use super::super::api::Call;
use super::super::reporter::{Said, reporter};
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
    moved: watch::Sender<()>,
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

    fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    fn about(&self, _: &ApiError) -> String {
        "server http://10.0.0.1".to_owned()
    }
}

/// What became of it.
struct Seen {
    /// Seconds, and what was asked for.
    calls: Vec<(f64, String)>,
    said: Vec<Said>,
}

impl Seen {
    fn told(&self) -> Vec<String> {
        let tell = |said: &Said| match said {
            Said::Change(change, _) => Some(match change.as_ref() {
                Change::Node(node) => format!("+{}", node.name),
                Change::NodeGone(name) => format!("-{name}"),
                other => format!("{other:?}"),
            }),
            Said::Listed(_) => Some("listed".to_owned()),
            Said::Problem(problem) => Some(problem.clone()),
            Said::Unusable(..) => None,
            Said::Credentials(problem) => Some(format!("{problem:?}")),
        };
        self.said.iter().filter_map(tell).collect()
    }

    /// What was shown as unusable, one after the other.
    fn unusable(&self) -> Vec<&[String]> {
        let unusable = self.said.iter().filter_map(|said| match said {
            Said::Unusable(_, problems) => Some(problems.as_slice()),
            _ => None,
        });
        unusable.collect()
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
    let (reporter, said) = reporter(|| {});
    let calls = runtime.block_on(async {
        let server = Server {
            reply,
            start: Instant::now(),
            calls: RefCell::default(),
            changed: watch::Sender::new(()),
            moved: watch::Sender::new(()),
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
    Seen {
        calls,
        said: said.all().collect(),
    }
}
