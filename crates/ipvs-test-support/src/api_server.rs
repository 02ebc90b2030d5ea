mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::http::{
    Request, number_in, read_request, write_answer, write_end, write_event, write_page,
};

/// An API server that holds objects in memory, lists and watches them, and fails when it is told to. It takes
/// Events, and knows no selectors, no other writing and no users.
#[derive(Debug, Clone)]
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What goes wrong, until it is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Requests are refused with this status, 429 or 500 for example.
    Refused(u16),
    /// Answers end after so many bytes, and their connections with them.
    Cut(usize),
    /// Each answer takes so long.
    Slow(Duration),
    /// Answers are no JSON.
    Garbled,
    /// Every watch begins too long ago (410).
    Expired,
    /// Lists of any version come from a cache that learns nothing any more.
    Stale,
    /// It is so old that it cannot select Services by `spec.clusterIP`.
    Old,
    /// Requests are taken and never answered.
    Swallowed,
    /// Lists stop after so many bytes, and their connections stay.
    Stuck(usize),
    /// Lists are of pods.
    OtherKind,
    /// Answers are a page for people.
    Html,
    /// Watches end at once, without an event.
    EndsAtOnce,
    /// Who asks for a list of a known version is told that it is not known yet (504).
    Behind,
}

/// By kind and name.
type Objects = BTreeMap<(String, String), Object>;

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    /// Those that went, and those who watched were told.
    deleted: Objects,
    fault: Option<Fault>,
    /// As everything was when lists became stale.
    cache: Objects,
    version: u64,
    /// Watches from before it are refused.
    oldest: u64,
    watches: Vec<(String, TcpStream)>,
    away: bool,
    requests: Vec<String>,
    agents: BTreeSet<String>,
    tokens: BTreeSet<String>,
    /// Who is let in; everybody, if none.
    known: Option<BTreeSet<String>>,
    events: Vec<Value>,
}

/// Kept as text: lists of thousands cost no more than what is sent.
#[derive(Debug, Clone)]
struct Object {
    /// The last one.
    version: u64,
    json: String,
}

impl Object {
    fn event(&self, kind: &str) -> String {
        format!(r#"{{"type":"{kind}","object":{}}}"#, self.json)
    }
}

impl ApiServer {
    /// Serves on a free port of 127.0.0.1 in the network namespace of this thread, until the process ends.
    ///
    /// # Errors
    /// When nothing can be bound.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let server = Self {
            address: listener.local_addr()?,
            state: Arc::default(),
        };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The paths and queries that were asked for.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// The tokens of those who asked.
    #[must_use]
    pub fn tokens(&self) -> BTreeSet<String> {
        self.state().tokens.clone()
    }

    /// As what those who asked introduced themselves.
    #[must_use]
    pub fn agents(&self) -> BTreeSet<String> {
        self.state().agents.clone()
    }

    /// Lets in who has one of these tokens, and refuses everybody else from now on (401). Watches go on.
    pub fn know_only(&self, tokens: &[&str]) {
        let known = tokens.iter().map(|token| (*token).to_owned());
        self.state().known = Some(known.collect());
    }

    /// Ends every watch.
    pub fn end_watches(&self) {
        self.state().hang_up();
    }

    /// The Events that were written.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Adds or changes an object, a JSON document as in a manifest.
    ///
    /// # Errors
    /// When it is none.
    pub fn put(&self, json: &str) -> Result<()> {
        let mut object: Value = serde_json::from_str(json)?;
        let key = key_of(&object).context("an object has kind and name")?;
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let is_new = !state.objects.contains_key(&key);
        let object = Object {
            version: state.version,
            json: object.to_string(),
        };
        let event = object.event(if is_new { "ADDED" } else { "MODIFIED" });
        state.tell(&key.0, &event);
        state.deleted.remove(&key);
        state.objects.insert(key, object);
        Ok(())
    }

    /// Deletes an object; `told` whether those who watch learn of it.
    pub fn delete(&self, kind: &str, name: &str, told: bool) {
        let mut state = self.state();
        state.version += 1;
        let key = (kind.to_owned(), name.to_owned());
        if let (Some(mut object), true) = (state.objects.remove(&key), told) {
            object.version = state.version;
            state.tell(kind, &object.event("DELETED"));
            state.deleted.insert(key, object);
        }
    }

    /// Answers watches, those that are there and those to come, with 410: what was before now is forgotten, and they must
    /// list again.
    pub fn forget_versions(&self) {
        let mut state = self.state();
        state.version += 1;
        state.oldest = state.version;
        for kind in ["Service", "EndpointSlice", "Node"] {
            state.tell(kind, &expired());
        }
        state.hang_up();
    }

    /// Goes away, closing every connection, or comes back.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.away = away;
        state.hang_up();
    }

    /// Something goes wrong from now on, or nothing any more. Every watch is closed.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.cache = match fault {
            Some(Fault::Stale) => state.objects.clone(),
            _ => Objects::new(),
        };
        state.fault = fault;
        state.hang_up();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        // As servers in Go do; an event would wait until the one before is acknowledged.
        let Ok(()) = stream.set_nodelay(true) else {
            return;
        };
        let Ok(copy) = stream.try_clone() else { return };
        let mut reader = BufReader::new(copy);
        while let Some(request) = read_request(&mut reader) {
            if !self.answer(&stream, request) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, mut stream: &TcpStream, request: Request) -> bool {
        let target = request.target.as_str();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = match path.rsplit('/').next() {
            Some("services") => "Service",
            Some("endpointslices") => "EndpointSlice",
            _ => "Node",
        };
        let fault = self.state().fault;
        if let Some(Fault::Slow(time)) = fault {
            thread::sleep(time);
        }
        let mut state = self.state();
        state.requests.push(target.to_owned());
        state.agents.extend(request.agent);
        let is_known = state.knows(request.token.as_ref());
        state.tokens.extend(request.token);
        if state.away {
            return false;
        }
        if !is_known {
            let refusal = status_of(401, "Unauthorized").to_string();
            return write_answer(stream, "401 Unauthorized", &[&refusal]);
        }
        match fault {
            Some(Fault::Refused(status)) => {
                let refusal = status_of(status, "InternalError").to_string();
                return write_answer(stream, &format!("{status} Refused"), &[&refusal]);
            }
            Some(Fault::Old) if query.contains("fieldSelector=spec.") => {
                let refusal = status_of(400, "BadRequest").to_string();
                return write_answer(stream, "400 Bad Request", &[&refusal]);
            }
            Some(Fault::Garbled) => {
                return write_answer(stream, "200 OK", &[r#"{"kind": "#]);
            }
            Some(Fault::Swallowed) => return true,
            Some(Fault::Html) => return write_page(stream),
            Some(Fault::EndsAtOnce) if query.contains("watch=true") => {
                return write_end(stream);
            }
            Some(Fault::Behind) if query.contains("NotOlderThan") => {
                let mut refusal = status_of(504, "Timeout");
                refusal["details"] = json!({"causes": [{"reason": "ResourceVersionTooLarge"}]});
                return write_answer(stream, "504 Gateway Timeout", &[&refusal.to_string()]);
            }
            Some(Fault::Stuck(bytes)) if !query.contains("watch=true") => {
                let mut whole = Vec::new();
                state.write_list(&mut whole, kind, query);
                whole.truncate(bytes);
                return stream.write_all(&whole).is_ok();
            }
            Some(Fault::Cut(bytes)) => {
                let mut whole = Vec::new();
                if query.contains("watch=true") {
                    state.write_watch(&mut whole, kind, query);
                } else {
                    state.write_list(&mut whole, kind, query);
                }
                whole.truncate(bytes);
                // It is cut off anyway.
                let _ = stream.write_all(&whole);
                return false;
            }
            _ => {}
        }
        if path.ends_with("/events") {
            let event: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let answer = event.to_string();
            state.events.push(event);
            return write_answer(stream, "201 Created", &[&answer]);
        }
        if !query.contains("watch=true") {
            return state.write_list(stream, kind, query);
        }
        let goes_on = state.write_watch(stream, kind, query);
        if let (true, Ok(copy)) = (goes_on, stream.try_clone()) {
            state.watches.push((kind.to_owned(), copy));
        }
        goes_on
    }
}

impl State {
    fn knows(&self, token: Option<&String>) -> bool {
        let known = self.known.as_ref();
        known.is_none_or(|known| token.is_some_and(|token| known.contains(token)))
    }

    fn tell(&mut self, kind: &str, event: &str) {
        self.watches
            .retain(|(of, stream)| of != kind || write_event(stream, event));
    }

    fn hang_up(&mut self) {
        for (_, stream) in self.watches.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A page of a list.
    fn write_list(&self, to: impl Write, kind: &str, query: &str) -> bool {
        let any_version =
            query.contains("resourceVersion=0&") || query.ends_with("resourceVersion=0");
        let objects = match self.fault {
            Some(Fault::Stale) if any_version => &self.cache,
            _ => &self.objects,
        };
        let of_kind = objects.iter().filter(|((of, _), _)| of == kind);
        let newest = of_kind.clone().map(|(_, object)| object.version).max();
        let version = match self.fault {
            Some(Fault::Stale) if any_version => newest.unwrap_or(0),
            _ => self.version,
        };
        let number = |name| usize::try_from(number_in(query, name)?).ok();
        let from = number("continue=").unwrap_or(0);
        let most = number("limit=").unwrap_or(usize::MAX);
        let mut rest = of_kind.map(|(_, object)| object.json.as_str()).skip(from);
        let items: Vec<&str> = rest.by_ref().take(most).collect();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if rest.next().is_some() {
            metadata["continue"] = json!((from + most).to_string());
        }
        let kind = match self.fault {
            Some(Fault::OtherKind) => "Pod",
            _ => kind,
        };
        let head =
            format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":["#);
        // Through a buffer that stays: one for the whole list would be megabytes of new memory.
        let mut parts = vec![head.as_str()];
        for item in &items {
            parts.extend([*item, ","]);
        }
        parts.pop_if(|last| *last == ",");
        parts.push("]}");
        write_answer(to, "200 OK", &parts)
    }

    /// The beginning of a watch: what happened since its version. Whether it goes on.
    fn write_watch(&self, mut to: impl Write, kind: &str, query: &str) -> bool {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if to.write_all(head.as_bytes()).is_err() {
            return false;
        }
        let since = number_in(query, "resourceVersion=").unwrap_or(0);
        if since < self.oldest || self.fault == Some(Fault::Expired) {
            write_event(to, &expired());
            return false;
        }
        for (objects, what) in [(&self.objects, "MODIFIED"), (&self.deleted, "DELETED")] {
            let of_kind = objects.iter().filter(|((of, _), _)| of == kind);
            for (_, object) in of_kind.filter(|(_, object)| object.version > since) {
                if !write_event(&mut to, &object.event(what)) {
                    return false;
                }
            }
        }
        true
    }
}

fn expired() -> String {
    json!({"type": "ERROR", "object": status_of(410, "Expired")}).to_string()
}

fn status_of(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": "as the test wants it", "code": code})
}

fn key_of(object: &Value) -> Option<(String, String)> {
    let kind = object["kind"].as_str()?;
    let name = object["metadata"]["name"].as_str()?;
    Some((kind.to_owned(), name.to_owned()))
}
