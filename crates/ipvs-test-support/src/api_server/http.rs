//! As much of HTTP as an API server needs.

use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::net::TcpStream;

/// The target of a request, and its body.
pub(super) fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
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

pub(super) fn write_answer(to: impl Write, status: &str, body: &[&str]) -> bool {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let mut buffered = BufWriter::with_capacity(64 * 1024, to);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut parts = std::iter::once(head.as_str()).chain(body.iter().copied());
    parts.all(|part| buffered.write_all(part.as_bytes()).is_ok()) && buffered.flush().is_ok()
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
