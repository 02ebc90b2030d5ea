//! As much of HTTP as an API server needs.

use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::net::TcpStream;

pub(super) struct Request {
    /// Path and query.
    pub(super) target: String,
    /// Who asks.
    pub(super) token: Option<String>,
    /// As what.
    pub(super) agent: Option<String>,
    pub(super) body: Vec<u8>,
}

pub(super) fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
    let (mut length, mut token, mut agent) = (0, None, None);
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => token = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            "user-agent" => agent = Some(value.trim().to_owned()),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        target,
        token,
        agent,
        body,
    })
}

pub(super) fn write_answer(to: impl Write, status: &str, body: &[&str]) -> bool {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let mut buffered = BufWriter::with_capacity(64 * 1024, to);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut parts = std::iter::once(head.as_str()).chain(body.iter().copied());
    parts.all(|part| buffered.write_all(part.as_bytes()).is_ok()) && buffered.flush().is_ok()
}

/// A page for people.
pub(super) fn write_page(mut to: impl Write) -> bool {
    let page = "<!doctype html><html><body>sign in</body></html>";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html";
    let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    to.write_all(text.as_bytes()).is_ok()
}

/// An answer that would go on, and is at its end.
pub(super) fn write_end(mut to: impl Write) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    let text = format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    to.write_all(text.as_bytes()).is_ok()
}

/// A line of an answer that goes on.
pub(super) fn write_event(mut to: impl Write, event: &str) -> bool {
    let line = format!("{event}\n");
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    to.write_all(chunk.as_bytes()).is_ok()
}

/// Of a query.
pub(super) fn number_in(query: &str, name: &str) -> Option<u64> {
    let mut words = query.split('&');
    words.find_map(|word| word.strip_prefix(name)?.parse().ok())
}
