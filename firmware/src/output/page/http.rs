//! As much HTTP as the live page needs: reading a request's head and writing an answer, each against a deadline and a limit.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The longest request head that is read, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8192;
/// The most header lines that are read.
const HEADERS_MAX: usize = 64;
/// How long, and for how many bytes, the other end may go on sending after its answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
const CLOSE_BYTES_MAX: usize = 1 << 16;

/// The methods that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
}

/// A request, without its headers: nothing here depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// What stood after the question mark.
    pub(super) query: String,
}

/// The answers that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLong,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What the bytes of a head amount to so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// More must come.
    Partial,
    /// A request that can be answered.
    Request(Request),
    /// One that is refused.
    Refused(Status),
}

/// Reads a head, whole or not.
pub(super) fn parse_head(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Head::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Head::Refused(Status::HeadTooLong),
        Err(_) => return Head::Refused(Status::BadRequest),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Head::Refused(Status::MethodNotAllowed),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Head::Request(Request { method, path: path.to_owned(), query: query.to_owned() })
}

/// Waits for a request. Nothing if the other end left, or said too little before the deadline.
pub(super) fn read_request(stream: &TcpStream, deadline: Instant) -> io::Result<Option<Result<Request, Status>>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = read_by(stream, &mut piece, deadline)?;
        if read == 0 {
            return Ok(None);
        }
        let room = HEAD_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&piece[..read.min(room)]);
        match parse_head(&bytes) {
            Head::Partial => {}
            Head::Request(request) => return Ok(Some(Ok(request))),
            Head::Refused(status) => return Ok(Some(Err(status))),
        }
    }
}

/// Writes a whole answer, after which the connection is closed.
pub(super) fn respond(
    stream: &TcpStream,
    status: Status,
    content_type: &str,
    body: &[u8],
    only_head: bool,
    deadline: Instant,
) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{SHARED_HEADERS}\r\n", status.line(), body.len());
    let mut answer = head.into_bytes();
    if !only_head {
        answer.extend_from_slice(body);
    }
    write_by(stream, &answer, deadline)
}

/// Headers of every answer. Nothing here may be kept, guessed at, or shown inside another page; everything comes from this device.
pub(super) const SHARED_HEADERS: &str = "Cache-Control: no-store\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'\r\n";

/// Writes all of `bytes` before the deadline, however slowly the other end reads.
pub(super) fn write_by(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends a connection so that the answer arrives: closing while the other end still sends would make the system take it back.
pub(super) fn close(stream: &TcpStream) {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    let mut left = CLOSE_BYTES_MAX;
    let mut open = stream.shutdown(Shutdown::Write).is_ok();
    while open && left > 0 {
        let read = read_by(stream, &mut [0; 4096], deadline).unwrap_or(0);
        open = read > 0;
        left = left.saturating_sub(read);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads something before the deadline; 0 at the end of the stream.
fn read_by(mut stream: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_refused() {
        let request = |method, path: &str, query: &str| Head::Request(Request { method, path: path.into(), query: query.into() });
        let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let cases: [(&[u8], Head); 13] = [
            (b"", Head::Partial),
            (b"GET / HT", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", request(Method::Get, "/", "")),
            (b"HEAD /state HTTP/1.0\r\n\r\n", request(Method::Head, "/state", "")),
            (b"POST /set?saturation=1.2&temperature=1 HTTP/1.1\r\n\r\nbody", request(Method::Post, "/set", "saturation=1.2&temperature=1")),
            (b"GET /?a?b HTTP/1.1\r\n\r\n", request(Method::Get, "/", "a?b")),
            (b"DELETE / HTTP/1.1\r\n\r\n", Head::Refused(Status::MethodNotAllowed)),
            (b"GET / HTTP/9.9\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"\x16\x03\x01\x02\x00\x01", Head::Refused(Status::BadRequest)),
            (b"GET /\r\n\r\n", Head::Refused(Status::BadRequest)),
            (&long.as_bytes()[..HEAD_BYTES_MAX], Head::Refused(Status::HeadTooLong)),
            (many.as_bytes(), Head::Refused(Status::HeadTooLong)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_head(bytes), expected, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
        }
    }
}
