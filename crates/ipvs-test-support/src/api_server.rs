use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// An API server that holds objects in memory, lists and watches them, and fails when it is told to. It takes
/// Events, and knows no selectors, no other writing and no users.
#[derive(Debug, Clone)]
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By kind and name.
    objects: BTreeMap<(String, String), Object>,
    version: u64,
    /// Watches from before it are refused.
    oldest: u64,
    watches: Vec<(String, TcpStream)>,
    away: bool,
    requests: Vec<String>,
    events: Vec<Value>,
}

/// Kept as text: lists of thousands cost no more than what is sent.
#[derive(Debug)]
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

    /// The paths and queries that were asked for.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
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
        state.objects.insert(key, object);
        Ok(())
    }

    /// Deletes an object; `told` whether those who watch learn of it.
    pub fn delete(&self, kind: &str, name: &str, told: bool) {
        let mut state = self.state();
        state.version += 1;
        let removed = state.objects.remove(&(kind.to_owned(), name.to_owned()));
        if let (Some(object), true) = (removed, told) {
            state.tell(kind, &object.event("DELETED"));
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(copy) = stream.try_clone() else { return };
        let mut reader = BufReader::new(copy);
        while let Some((target, body)) = read_request(&mut reader) {
            if !self.answer(&stream, &target, &body) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, mut stream: &TcpStream, target: &str, body: &[u8]) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = match path.rsplit('/').next() {
            Some("services") => "Service",
            Some("endpointslices") => "EndpointSlice",
            _ => "Node",
        };
        let mut state = self.state();
        state.requests.push(target.to_owned());
        if state.away {
            return false;
        }
        if path.ends_with("/events") {
            let event: Value = serde_json::from_slice(body).unwrap_or_default();
            let answer = event.to_string();
            state.events.push(event);
            return write_answer(stream, "201 Created", &[&answer]);
        }
        if !query.contains("watch=true") {
            return write_list(stream, &state, kind, query);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(head.as_bytes()).is_err() {
            return false;
        }
        // What happened between list and watch.
        let since = number_in(query, "resourceVersion=").unwrap_or(0);
        if since < state.oldest {
            write_event(stream, &expired());
            return false;
        }
        let objects = state.objects.iter();
        let missed = objects.filter(|((of, _), object)| of == kind && object.version > since);
        let missed: Vec<String> = missed.map(|(_, object)| object.event("MODIFIED")).collect();
        if let Ok(copy) = stream.try_clone() {
            state.watches.push((kind.to_owned(), copy));
        }
        missed.iter().all(|event| write_event(stream, event))
    }
}

impl State {
    fn tell(&mut self, kind: &str, event: &str) {
        self.watches
            .retain(|(of, stream)| of != kind || write_event(stream, event));
    }

    fn hang_up(&mut self) {
        for (_, stream) in self.watches.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// A page of a list.
fn write_list(stream: &TcpStream, state: &State, kind: &str, query: &str) -> bool {
    let of_kind = state.objects.iter().filter(|((of, _), _)| of == kind);
    let number = |name| usize::try_from(number_in(query, name)?).ok();
    let from = number("continue=").unwrap_or(0);
    let most = number("limit=").unwrap_or(usize::MAX);
    let mut rest = of_kind.map(|(_, object)| object.json.as_str()).skip(from);
    let items: Vec<&str> = rest.by_ref().take(most).collect();
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if rest.next().is_some() {
        metadata["continue"] = json!((from + most).to_string());
    }
    let head =
        format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":["#);
    // Through a buffer that stays: one for the whole list would be megabytes of new memory.
    let mut parts = vec![head.as_str()];
    for item in &items {
        parts.extend([*item, ","]);
    }
    parts.pop_if(|last| *last == ",");
    parts.push("]}");
    write_answer(stream, "200 OK", &parts)
}

fn expired() -> String {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired",
        "message": "too old resource version", "code": 410});
    json!({"type": "ERROR", "object": status}).to_string()
}

fn write_event(mut stream: &TcpStream, event: &str) -> bool {
    let line = format!("{event}\n");
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    stream.write_all(chunk.as_bytes()).is_ok()
}

fn key_of(object: &Value) -> Option<(String, String)> {
    let kind = object["kind"].as_str()?;
    let name = object["metadata"]["name"].as_str()?;
    Some((kind.to_owned(), name.to_owned()))
}

fn number_in(query: &str, name: &str) -> Option<u64> {
    let mut words = query.split('&');
    words.find_map(|word| word.strip_prefix(name)?.parse().ok())
}

fn write_answer(stream: &TcpStream, status: &str, body: &[&str]) -> bool {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let mut buffered = BufWriter::with_capacity(64 * 1024, stream);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut parts = std::iter::once(head.as_str()).chain(body.iter().copied());
    parts.all(|part| buffered.write_all(part.as_bytes()).is_ok()) && buffered.flush().is_ok()
}

/// The target of a request, and its body.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, body))
}
