//! As much HTTP as the survey's page needs: a request's head in, an answer out, each against a limit and a deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The longest request head that is read, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8192;
/// The most header lines that are read.
const HEADERS_MAX: usize = 64;
/// How long, and for how many bytes, a browser may go on sending after its answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
const CLOSE_BYTES_MAX: usize = 1 << 16;

/// The methods that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// A request, with those of its headers that something here depends on. A body is never looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// What stood after the question mark.
    pub(super) query: String,
    /// What the browser calls this machine, with the port.
    pub(super) host: String,
    /// The page that a browser sends this request from.
    pub(super) origin: Option<String>,
}

impl Request {
    /// A value of the query, as it stands there: nothing that the page sends needs escaping.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.split('&').filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: Status, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    /// A line for a person.
    pub(super) fn text(status: Status, text: impl std::fmt::Display) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }
}

/// The answers that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    Misdirected,
    HeadTooLong,
    Unavailable,
    NotStored,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Conflict => "409 Conflict",
            Self::Misdirected => "421 Misdirected Request",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::NotStored => "507 Insufficient Storage",
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
        Some("POST") => Method::Post,
        _ => return Head::Refused(Status::MethodNotAllowed),
    };
    let (mut host, mut origin) = (None, None);
    for header in request.headers.iter() {
        let kept = match header.name {
            name if name.eq_ignore_ascii_case("host") => &mut host,
            name if name.eq_ignore_ascii_case("origin") => &mut origin,
            _ => continue,
        };
        let value = std::str::from_utf8(header.value).ok().filter(|value| value.is_ascii());
        // Of two, one would be believed here and the other one elsewhere; and what decides has to be readable.
        match value {
            Some(value) if kept.is_none() => *kept = Some(value.trim().to_ascii_lowercase()),
            _ => return Head::Refused(Status::BadRequest),
        }
    }
    let Some(host) = host else { return Head::Refused(Status::BadRequest) };
    let (path, query) = request.path.map(|target| target.split_once('?').unwrap_or((target, ""))).unwrap_or_default();
    Head::Request(Request { method, path: path.to_owned(), query: query.to_owned(), host, origin })
}

/// Waits for a request. Nothing if the other end left before it was whole.
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
pub(super) fn respond(mut stream: &TcpStream, answer: &Answer, deadline: Instant) -> io::Result<()> {
    let Answer { status, content_type, body } = answer;
    let (line, length) = (status.line(), body.len());
    // Nothing may be kept, as the same address shows another picture to another voter; nothing comes from elsewhere.
    let mut bytes = format!(
        "HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    let mut left = &bytes[..];
    while !left.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = &left[written..],
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
        let request = |method, path: &str, query: &str, origin: Option<&str>| {
            let (path, query, origin) = (path.into(), query.into(), origin.map(Into::into));
            Head::Request(Request { method, path, query, host: "a:1".into(), origin })
        };
        let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let cases: [(&[u8], Head); 15] = [
            (b"", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: a:1\r\n", Head::Partial),
            (b"GET / HTTP/1.1\r\nHost: A:1\r\n\r\n", request(Method::Get, "/", "", None)),
            (
                b"POST /vote?voter=1&side=2 HTTP/1.1\r\nhost: a:1\r\nOrigin: http://a:1\r\n\r\nbody",
                request(Method::Post, "/vote", "voter=1&side=2", Some("http://a:1")),
            ),
            (b"GET /?a?b HTTP/1.0\r\nHOST:a:1\r\nX: \xff\r\n\r\n", request(Method::Get, "/", "a?b", None)),
            (b"GET / HTTP/1.1\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: a\r\nOrigin: b\r\n\r\n", Head::Refused(Status::BadRequest)),
            (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", Head::Refused(Status::MethodNotAllowed)),
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

    #[test]
    fn values_are_found_by_their_whole_name() {
        let Head::Request(request) = parse_head(b"GET /?ab=1&b=2&c&d= HTTP/1.1\r\nHost: a\r\n\r\n") else { panic!("a whole request") };
        let found = ["ab", "b", "a", "c", "d"].map(|name| request.value(name));
        assert_eq!(found, [Some("1"), Some("2"), None, None, Some("")]);
    }
}
